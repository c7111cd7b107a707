"""The version, where packaging and the rooms below can read it."""

__version__ = "0.1.0"
