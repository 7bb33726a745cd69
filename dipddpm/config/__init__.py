"""The typed configuration of both commands, and the ranges of its values. Imports no torch."""
