"""The plan of a smoothing of existing tables, which `raypose.smooth` executes."""
