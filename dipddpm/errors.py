"""What a user can get wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class UserError(ValueError):
    """A request that cannot be met: one line that says what was given, what is allowed, what to type.

    The entry points print it and leave with exit code 2. Inside a sweep it is an ordinary exception,
    so that the other jobs go on.
    """


def suggestion(key: str, known: Iterable[str]) -> str:
    """Return `` did you mean ...?`` for a mistyped name, or nothing."""
    near = difflib.get_close_matches(key, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def need(ok: bool, key: str, given: Any, allowed: str) -> None:
    """Refuse a value unless ``ok``: one line with the key as typed, what was given, what is allowed."""
    if not ok:
        raise UserError(f"{key}={given} is not allowed: {allowed}")


def error_unknown(why: Sequence[str], start: str = "DIP output") -> UserError:
    """Return the refusal of settings that need the error of what a window starts from, where nothing gives it."""
    return UserError(
        f"{' and '.join(why)} needs the error of the {start}, which the noisy picture alone does not "
        "tell: type ddpm.error_sigma=<0-255 scale>, or a level and another init"
    )
