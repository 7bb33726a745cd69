"""The error of the picture that a window starts from: the settings that need it, and its source before any work.

The sources, in this order: ``ddpm.error_sigma``; the clean picture; of y itself its noise; of a DIP output its held-out
values, where A is the identity or a mask.
"""

from __future__ import annotations

from dipddpm.config.checkpoint import parse
from dipddpm.config.schema import Config, FolderImage, IdentityOperator, MaskOperator, has_clean, is_partial
from dipddpm.errors import error_unknown
from dipddpm.names import HELD_OUT


def need_an_error(c: Config) -> list[str]:
    """Return the settings, as typed, that need the rms error of the picture that the window starts from."""
    given = {"ddpm.start_t": c.ddpm.start_t, "ddpm.init": c.ddpm.init.name}
    return [f"{key}={value}" for key, value in given.items() if value in ("auto", "matched")]


def held_out_of(c: Config) -> float:
    """Return the share of the values of y that a fit does not see: ``dip.holdout``, or where it is null the default.

    ``train_dip.py`` has the share of ``sample.py`` with the same keys, so that both have one fit.
    """
    if c.dip.holdout is not None:
        return c.dip.holdout
    estimated = _is_unknown(c) and parse(c.checkpoint).fits and _shows(c)
    return HELD_OUT if estimated or c.stopping.rule.name == "holdout" else 0.0


def check_error(c: Config) -> None:
    """Refuse a window that needs an error which nothing tells. Reads no file.

    Raises:
        UserError: One line that names the settings, and what to type.
    """
    if not _is_unknown(c):
        return
    why, start, many = need_an_error(c), parse(c.checkpoint), isinstance(c.image, FolderImage)
    if start.kind == "none":
        if is_partial(c):  # the error of a whole y is its noise
            raise error_unknown(why, "completed picture", many=many)
    elif not start.fits:
        raise error_unknown(why, many=many)
    elif not _shows(c):
        only = ", because held-out values tell it with operator=identity and operator=mask alone"
        raise error_unknown(why, because=only, many=many)
    elif not held_out_of(c):
        raise error_unknown(why, because=" and without held-out values", first=f"dip.holdout={HELD_OUT}, ", many=many)


def _is_unknown(c: Config) -> bool:
    """Return whether a setting needs an error, and neither the user nor a clean picture tells it."""
    return bool(need_an_error(c)) and c.ddpm.error_sigma is None and not has_clean(c)


def _shows(c: Config) -> bool:
    """Return whether held-out values of y tell the error of a picture."""
    return isinstance(c.operator, IdentityOperator | MaskOperator)
