"""What one task of a run does: inference, metrics, drawing, cutting and smoothing."""
