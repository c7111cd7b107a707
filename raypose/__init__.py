"""raypose."""
