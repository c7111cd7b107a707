"""Smoothing an ensemble: from the members' tables to one, by the Ensemble Kalman Smoother (EKS).

```
members → ensemble (average, variance) → parameter (how much to smooth) → smoother → table
```
One camera is smoothed by a fast path of raypose's own, which imports neither jax nor `eks`.
Nothing here reads or writes a file.
"""

from __future__ import annotations

from raypose.eks.members import fitting_members
from raypose.eks.recording import (
    check_mode,
    check_names,
    mirrored_views,
    smooth_recording,
    views_by_suffix,
)

__all__ = [
    "check_mode",
    "check_names",
    "fitting_members",
    "mirrored_views",
    "smooth_recording",
    "views_by_suffix",
]
