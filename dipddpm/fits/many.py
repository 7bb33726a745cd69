"""Obtain the fits of many pictures. A fit that fails gives its exception, and the other fits go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dipddpm.dip.fitting import RunSettings
from dipddpm.fits.choice import Choice
from dipddpm.fits.fit import Wanted
from dipddpm.fits.manifest import Fit
from dipddpm.fits.store import FitStore


@dataclass(frozen=True)
class Obtained:
    """A stored fit, the epoch of it that was chosen, and whether the fit was made or extended now."""

    fit: Fit
    choice: Choice
    made: bool


def obtain_all(
    store: FitStore,
    wanted: Sequence[Wanted],
    run: RunSettings,
    *,
    batch: int | str = "auto",
    used: Callable[[str], None] | None = None,
    ended: Callable[[int], None] | None = None,
) -> list[Obtained | Exception]:
    """Return the stored fit of each wanted one, in order. Missing and too short fits are made or extended.

    Args:
        store: The store of the fits.
        wanted: The fits, each of one picture.
        run: Device and display.
        batch: Fits that are made at once: a number, or ``auto``.
        used: A function of a fit's key. It is called before work on the fit begins.
        ended: A function of an index in ``wanted``. It is called once its fit is there, or has failed.

    Returns:
        For each wanted fit the obtained one, or the exception that it failed with.
    """
    answers: list[Obtained | Exception] = []
    for i, one in enumerate(wanted):

        def work(folder: Path, key: str, before: Fit | None, one: Wanted = one) -> None:
            if used:
                used(key)
            one.make_in(folder, key, before, run)

        try:
            answers.append(Obtained(*store.obtain(one.request, one.choose, work)))
        except (ValueError, RuntimeError, OSError) as error:
            answers.append(error)
        if ended:
            ended(i)
    return answers
