"""What was done to a picture: noise, operators, and the problem that a run is about."""
