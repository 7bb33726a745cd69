"""The settings that need the error of the picture that a window starts from, and the source of this error.

The sources, in this order: ``ddpm.error_sigma``; for a whole y its noise; the clean picture; for a DIP output, where A
is the identity, a second fit.
"""

from __future__ import annotations

from dipddpm.config.checkpoint import parse
from dipddpm.config.schema import Config, FolderImage, has_clean, is_partial
from dipddpm.errors import error_unknown


def need_an_error(c: Config) -> list[str]:
    """Return the settings, as typed, that need the rms error of the picture that the window starts from."""
    given = {"ddpm.start_t": c.ddpm.start_t, "ddpm.init": c.ddpm.init.name}
    return [f"{key}={value}" for key, value in given.items() if value in ("auto", "matched")]


def is_estimated(c: Config) -> bool:
    """Return whether a second fit estimates the error of the start, because no other source tells the error."""
    return _is_unknown(c) and parse(c.checkpoint).fits


def check_error(c: Config) -> None:
    """Refuse a window that needs the error of its start, where no source tells this error. Reads no file.

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
        raise error_unknown(why, many=many, fitting=not is_partial(c))
    elif is_partial(c):
        raise error_unknown(why, because=", because it is estimated with operator=identity alone", many=many)


def _is_unknown(c: Config) -> bool:
    """Return whether a setting needs an error, and neither the user nor a clean picture tells it."""
    return bool(need_an_error(c)) and c.ddpm.error_sigma is None and not has_clean(c)
