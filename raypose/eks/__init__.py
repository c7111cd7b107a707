"""Smoothing an ensemble: from the members' tables to one, by the Ensemble Kalman Smoother (EKS).

```
members → ensemble (average, variance) → parameter (how much to smooth) → smoother → table
```
One camera is smoothed by a fast path of raypose's own, which imports neither jax nor `eks`.
Nothing here reads or writes a file.
"""
