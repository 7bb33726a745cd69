"""What a user can get wrong."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

CLONE = Path(__file__).parents[1]  # an installed package has its environment's site-packages here


class UserError(ValueError):
    """A request that cannot be met: one line that says what was given, what is allowed, what to type.

    The entry points print it and leave with exit code 2. Inside a sweep it is an ordinary exception,
    so that the other jobs go on.
    """


def suggestion(key: str, known: Iterable[str]) -> str:
    """Return `` did you mean ...?`` for a mistyped name, or nothing."""
    near = difflib.get_close_matches(key, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def typed_as(entry: str) -> str:
    """Return what to type for an entry point.

    Args:
        entry: A script of the repository (``sample.py``) or a module (``dipddpm.fits``).

    Returns:
        ``python sample.py`` or ``python -m dipddpm.fits`` in a clone. ``dipddpm-sample`` or ``dipddpm-fits`` of an
        installed package, and where the user typed such a command.
    """
    if _in_clone():
        return f"python {entry}" if entry.endswith(".py") else f"python -m {entry}"
    return "dipddpm-" + entry.removeprefix("dipddpm.").removesuffix(".py").replace("_", "-")


def install(extra: str) -> str:
    """Return what to type to install an extra of pyproject.toml."""
    return f'pip install -e ".[{extra}]"' if _in_clone() else f'pip install "dipddpm[{extra}]"'


def _in_clone() -> bool:
    """Return whether the package lies in a clone and the user typed no console command."""
    return (CLONE / "pyproject.toml").is_file() and not Path(sys.argv[0]).name.startswith("dipddpm-")


def need(ok: bool, key: str, given: object, allowed: str) -> None:
    """Refuse a value unless ``ok``: one line with the key as typed, what was given, what is allowed."""
    if not ok:
        raise UserError(f"{key}={given} is not allowed: {allowed}")


def error_unknown(why: Sequence[str], start: str = "DIP output") -> UserError:
    """Return the refusal of settings that need the error of what a window starts from, where nothing gives it."""
    return UserError(
        f"{' and '.join(why)} needs the error of the {start}, which the noisy picture alone does not "
        "tell: type ddpm.error_sigma=<0-255 scale>, or a level and another init"
    )
