"""Measurements. ``python -m bench`` compares pairs of programs; the other files measure the tables of docs/results."""
