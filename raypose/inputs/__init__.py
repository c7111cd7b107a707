"""What the user points at: model directories, videos, sessions."""
