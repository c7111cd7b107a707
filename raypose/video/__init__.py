"""Video files: opening, frame index, decoding and encoding. Nothing here knows of predictions."""
