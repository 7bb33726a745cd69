"""Pictures read, cut, resized and written, and panels of them for people."""
