"""Refusals: the one line that a user sees for a request that cannot be met, and the commands that it names."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

CLONE = Path(__file__).parents[1]  # the folder of the clone; site-packages for an installed package


class UserError(ValueError):
    """A request that cannot be met. Its text is one line: the value given, the values allowed, the override to type.

    The entry points print the line and leave with exit code 2. Inside a sweep the error is an ordinary exception: the
    other jobs go on.
    """


class FitFailed(RuntimeError):
    """A fit that cannot be made with its settings, such as one that diverges. Other fits can go on."""


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its type where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def suggestion(key: str, known: Iterable[str]) -> str:
    """Return `` did you mean ...?`` for a mistyped name, or nothing."""
    near = difflib.get_close_matches(key, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def typed_as(entry: str) -> str:
    """Return the command that starts an entry point.

    Args:
        entry: A script of the repository (``sample.py``) or a module (``dipddpm.fits``).

    Returns:
        ``python sample.py`` or ``python -m dipddpm.fits`` in a clone. ``dipddpm-sample`` or ``dipddpm-fits`` for an
        installed package, and for a user who typed such a command.
    """
    if _in_clone():
        return f"python {entry}" if entry.endswith(".py") else f"python -m {entry}"
    return "dipddpm-" + entry.removeprefix("dipddpm.").removesuffix(".py").replace("_", "-")


def install(extra: str) -> str:
    """Return the pip command that installs an extra of pyproject.toml."""
    return f'pip install -e ".[{extra}]"' if _in_clone() else f'pip install "dipddpm[{extra}]"'


def _in_clone() -> bool:
    """Return whether the package lies in a clone and the user typed no console command."""
    return (CLONE / "pyproject.toml").is_file() and not Path(sys.argv[0]).name.startswith("dipddpm-")


def need(ok: bool, key: str, given: object, allowed: str) -> None:
    """Refuse a value unless ``ok``: the line has the key as typed, the value given and the values ``allowed``.

    Raises:
        UserError: When ``ok`` is false.
    """
    if not ok:
        raise UserError(f"{key}={spelled(given)} is not allowed: {allowed}")


def spelled(value: object) -> object:
    """Return a value as a user types it: ``null``, ``true`` and ``false`` for None, True and False."""
    return json.dumps(value) if value is None or isinstance(value, bool) else value


def error_unknown(
    why: Sequence[str], start: str = "DIP output", *, because: str = "", many: bool = False, fitting: bool = False
) -> UserError:
    """Return the refusal of settings that need the error of a window's start, where that error is unknown.

    Args:
        why: The settings as typed, such as ``ddpm.start_t=auto``.
        start: The name of the picture that the window starts from.
        because: The reason why no other source tells the error.
        many: Whether the job has many pictures, which take no ``image.reference``.
        fitting: Whether a DIP that the run fits itself would have a known error.
    """
    sources = ("checkpoint=stop, " if fitting else "") + ("" if many else "image.reference=<clean file>, ")
    return UserError(
        f"{' and '.join(why)} cannot be used: the error of the {start} is unknown without a clean picture"
        f"{because}; type ddpm.error_sigma=<0-255 scale>, {sources}or ddpm.start_t=<level> ddpm.init=scaled"
    )
