"""How good a picture is, and how much arithmetic it took."""
