"""A run as a job of a Ray cluster, and the check that the cluster fits."""
