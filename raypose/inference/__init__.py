"""Inference: checkpoint → network → network artifact → predictor → keypoints.

```
checkpoint (safe reading) → network (Lightning Pose's layers) → artifact (bytes)
exports (finds and packs what Lightning Pose exported) → exported (runs it)
artifact or exported → predictor (preprocess, network, subpixel) → loop
loop: frame_source → batch_executor → one result per model and view
frame_source: decoded frames → collectors, uploads or nvdec (samples) → batches
sampling, colours: which pixels of a frame are samples, and what images they give
```
`device` says where. Nothing here knows of runs, files of results or Ray.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

PASSIVE_THREADS = ("OMP_WAIT_POLICY", "PASSIVE")
"""What torch's OpenMP library reads when it is loaded. Threads that wait by spinning take the core
from the ones they wait for as soon as anything else runs: measured with two threads on two busy
cores, 6 frames/s instead of 140. Processes of raypose's own have it in their environment."""


@contextmanager
def passive_threads() -> Iterator[None]:
    """In a user's process: the setting, for a torch that is first imported inside."""
    name, value = PASSIVE_THREADS
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
