"""Write keys and their values for people, and sort them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
LONGEST = 22  # characters of a value in legends and narrow tables


def is_number(text: str) -> bool:
    """Return whether a text is a finite number, as an override has it. The name ``1_2`` is none."""
    return bool(NUMBER.fullmatch(text)) and math.isfinite(float(text))


def natural(text: str) -> tuple[int, float | list[float | str], str]:
    """Return a sort key: numbers come first, by value; then words, in which numbers sort by value, too.

    The text itself is the last part of the key: different texts never compare equal, and the order is always the same.
    """
    if is_number(text):
        return 0, float(text), text
    words = re.split(r"([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)", text)
    return 1, [float(word) if i % 2 else word for i, word in enumerate(words)], text


def as_text(value: Any) -> str:
    """Return the value of a key as a user types it; ``null`` for a missing value."""
    if pd.isna(value):
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return the last word of each dotted key, or the whole key where two keys share that word."""
    last = Counter(key.split(".")[-1] for key in keys)
    return {key: word if last[word := key.split(".")[-1]] == 1 else key for key in keys}


def short(text: str) -> str:
    """Return a value of at most `LONGEST` characters. A longer one loses its start: the end of a path matters more."""
    return text if len(text) <= LONGEST else f"…{text[1 - LONGEST :]}"


def labels(frame: pd.DataFrame, keys: Sequence[str], among: Sequence[str] = ()) -> pd.Series:
    """Return one text for each job from its values of ``keys``: ``layers=4, start_t=50``.

    The names are the shortest that are unique ``among`` all keys of the study. A job without any of these values gets
    the name of its folder.
    """
    names = short_names(among or keys)
    told = [
        ", ".join(f"{names[key]}={as_text(value)}" for key, value in zip(keys, row, strict=True))
        for row in frame[list(keys)].astype(object).to_numpy().tolist()  # of no keys: empty rows, in each pandas
    ]
    no_key = frame[list(keys)].isna().all(axis=1)
    return pd.Series(told, frame.index, dtype="object").mask(no_key, frame["job"])
