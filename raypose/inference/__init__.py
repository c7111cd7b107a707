"""Inference: checkpoint → network → network artifact → predictor → keypoints.

```
checkpoint (with archive: safe reading) → network (Lightning Pose's layers) → artifact (bytes)
exports (finds and packs what Lightning Pose exported) → exported (runs it)
artifact or exported → predictor (preprocess, network, subpixel; gpu_memory) → loop
loop: frame_source → batch_executor → member → one result per model and view
```
`device` says where. Nothing here knows of runs, files of results or Ray.
"""

import os

# Threads of torch that wait by spinning take the core from the ones they wait for as soon as
# anything else runs: measured with two threads on two busy cores, 6 frames/s instead of 140. Read
# when torch loads its OpenMP library, so it is set before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
