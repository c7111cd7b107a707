"""Inference: checkpoint → network → graph → predictor → keypoints.

`checkpoint` reads weights safely, `network` builds Lightning Pose's layers around them, `graph`
makes of both the bytes that travel and wait in the cache, `predictor` keeps a model loaded
(`preprocess` before the network, `subpixel` after it), `loop` sends whole videos through, and
`device` says where. Nothing here knows of runs, files of results or Ray.
"""
