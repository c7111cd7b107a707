"""What a step may ask of the process that it runs in."""
