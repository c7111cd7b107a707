"""Runs tasks, in one process (`inline`) or on a Ray cluster (`ray`); `base` is the contract."""
