"""The order in which people expect names and values, and short names for keys."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

UNSET = "(not set)"  # where other jobs of the sweep set the key
LONGEST = 22  # characters of a value where there is little room


def is_number(text: str) -> bool:
    """Whether a text is a finite number as typed in an override."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def natural(text: str) -> tuple[Any, ...]:
    """Return a sort key: numbers by value and before words, words with the numbers in them by value.

    The text itself comes last, so that two different texts never compare equal and an order is always the same.
    """
    if is_number(text):
        return 0, float(text), text
    words = re.split(r"([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)", text)
    return 1, [float(word) if i % 2 else word for i, word in enumerate(words)], text


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return the last word of each dotted key, or the whole key where two keys share that word."""
    last = Counter(key.split(".")[-1] for key in keys)
    return {key: word if last[word := key.split(".")[-1]] == 1 else key for key in keys}


def short(text: str) -> str:
    """Return a value that fits: the end of a path tells more than its start."""
    return text if len(text) <= LONGEST else f"…{text[1 - LONGEST :]}"


def label(overrides: Mapping[str, str], swept: Sequence[str]) -> str:
    """Return what tells a job from the others: ``layers=4, start_t=50``; empty where nothing was swept."""
    names = short_names(swept)
    return ", ".join(f"{names[key]}={overrides[key]}" for key in swept if key in overrides)
