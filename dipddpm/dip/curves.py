"""The curves of a fit, one row an epoch, and the epochs that they single out: peak, best kept epoch, crossing.

Row e is measured before the first step of epoch e. It belongs to the weights kept after epoch e - 1: `weights_epoch`.
Peak, crossing and stopping rules name that epoch. Rows measure the output of the training step. With ``dip.ema`` the
kept picture is an average of such outputs, and differs from the row. The column ``holdout`` measures this average.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

COLUMNS = (
    "loss_noisy",  # mean squared error to y, [0, 1] units
    "loss_clean",  # mean squared error to the clean picture; NaN without one
    "psnr",  # dB against the clean picture; NaN without one
    "lr",
    "seconds",  # mean over the optimiser steps of the epoch
    "window_variance",  # variance of the output over 100 epochs, per value; NaN before epoch 100
    "moving_variance",  # exponential moving variance of the output, per value
    "holdout",  # mean error to y of the kept picture at held-out values, squared or, with loss=l1, absolute; or NaN
)
OPTIONAL = ("holdout",)  # columns that older curves do not have; they are NaN there


class Curves:
    """One float64 value an epoch in each of `COLUMNS`; index e - 1 is epoch e."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, ...]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, **values: float) -> None:
        """Add the next epoch's row. Columns of `OPTIONAL` may be left out.

        Raises:
            ValueError: When another column is missing, or one is unknown.
        """
        values = dict.fromkeys(OPTIONAL, math.nan) | values
        if set(values) != set(COLUMNS):
            raise ValueError(f"values: must be {', '.join(COLUMNS)}, got {', '.join(values)}")
        self._rows.append(tuple(float(values[name]) for name in COLUMNS))

    def column(self, name: str) -> np.ndarray:
        """Return the values of a column: float64, shape (epochs,).

        Raises:
            ValueError: For a name that is not in `COLUMNS`.
        """
        index = COLUMNS.index(name)
        return np.array([row[index] for row in self._rows], dtype=np.float64)

    def head(self, n: int) -> Curves:
        """Return the curves of the first ``n`` epochs, or of all epochs when there are fewer."""
        part = Curves()
        part._rows = self._rows[:n]
        return part

    def save(self, path: Path) -> None:
        """Write an .npz file without pickle, under the path as given. An `OPTIONAL` column of NaN alone is left out."""
        columns = {name: self.column(name) for name in COLUMNS}
        known = {name: v for name, v in columns.items() if name not in OPTIONAL or not np.isnan(v).all()}
        with Path(path).open("wb") as file:
            np.savez(file, **known)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Curves:
        """Read a file that `save` wrote.

        Raises:
            ValueError: For a file of another kind.
        """
        with np.load(path, allow_pickle=False) as file:
            if set(file.files) | set(OPTIONAL) != set(COLUMNS):
                raise ValueError(f"{path}: holds {', '.join(file.files)} instead of a fit's curves")
            unknown = np.full(len(file["lr"]), np.nan)
            columns = [file[name] if name in file.files else unknown for name in COLUMNS]
        curves = cls()
        curves._rows = [tuple(map(float, row)) for row in zip(*columns, strict=True)]
        return curves


def weights_epoch(row: int) -> int:
    """Return the epoch whose kept weights row ``row`` measured; both count from 1. Row 1 counts as epoch 1."""
    return max(1, row - 1)


def peak(curves: Curves) -> int | None:
    """Return the epoch of the highest PSNR; None without a clean picture."""
    psnr = curves.column("psnr")
    return None if np.isnan(psnr).all() else weights_epoch(int(np.nanargmax(psnr)) + 1)


def best_kept(kept: Mapping[int, float | None]) -> tuple[int, float] | None:
    """Return the kept epoch of the highest PSNR, the first of equals, and its PSNR in dB; None without any PSNR."""
    rated = [(epoch, psnr) for epoch, psnr in kept.items() if psnr is not None]
    return max(rated, key=lambda pair: pair[1], default=None)


def crossing(curves: Curves) -> int | None:
    """Return the first epoch at which the output is nearer to y than to the clean picture x, or None.

    At this epoch half of the noise n has been learnt: |n|^2 = 2 <out - x, n>.
    """
    nearer = curves.column("loss_noisy") < curves.column("loss_clean")
    return weights_epoch(int(nearer.argmax()) + 1) if nearer.any() else None
