"""The quality of a picture, and the arithmetic that it took."""
