"""Helpers that several test modules share; holds no tests."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
