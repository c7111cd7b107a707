"""The headings of `--help` and of the commented settings, in the order in which they are read."""

from __future__ import annotations

INPUTS = "Inputs"
OUTPUTS = "Outputs"
EKS = "Smoothing with EKS"
COMPUTING = "Computing"
CLUSTER = "Cluster and storage"
ADVANCED = "Advanced"

PANELS = (INPUTS, OUTPUTS, EKS, COMPUTING, CLUSTER, ADVANCED)
