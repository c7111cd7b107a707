"""Inference: checkpoint → network → graph → predictor → keypoints.

`checkpoint` reads weights safely, `network` builds Lightning Pose's layers around them, `graph`
makes of both the bytes that travel and wait in the cache (in their place, `exports` finds and
`engines` runs what Lightning Pose exported), `predictor` keeps a model loaded (`preprocess`
before the network, `subpixel` after it), `loop` sends whole videos through, and `device` says
where. Nothing here knows of runs, files of results or Ray.
"""

import os

# Threads of torch that wait by spinning take the core from the ones they wait for as soon as
# anything else runs: measured with two threads on two busy cores, 6 frames/s instead of 140. Read
# when torch loads its OpenMP library, so it is set before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
