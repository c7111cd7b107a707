"""Submits a run to a Ray cluster as a job, and checks there that the cluster can run it."""
