"""The curves of a fit, one row an epoch, and what can be read off them.

Row e was measured before the (first) step of epoch e, so it belongs to the weights kept after epoch e - 1:
`weights_epoch`. The peak, the crossing and the rules all name that epoch. With ``dip.ema`` the kept weights are
averaged ones, and with ``dip.input_noise`` the kept picture is of z alone; rows are of the training step as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

COLUMNS = (
    "loss_noisy",  # mean squared error to y, [0, 1] units
    "loss_clean",  # to the clean picture; NaN where there is none
    "psnr",  # dB against the clean picture; NaN where there is none
    "lr",
    "seconds",  # of an optimiser step
    "window_variance",  # of the output over 100 epochs, per value; NaN before
    "moving_variance",  # exponential, per value
)


class Curves:
    """One float64 value an epoch in each of `COLUMNS`; index e - 1 is epoch e."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, ...]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, **values: float) -> None:
        """Add the next epoch's row.

        Raises:
            ValueError: When a column is missing or unknown.
        """
        if set(values) != set(COLUMNS):
            raise ValueError(f"values: must be {', '.join(COLUMNS)}, got {', '.join(values)}")
        self._rows.append(tuple(float(values[name]) for name in COLUMNS))

    def column(self, name: str) -> np.ndarray:
        """Return a column: float64, shape (epochs,)."""
        index = COLUMNS.index(name)
        return np.array([row[index] for row in self._rows], dtype=np.float64)

    def head(self, n: int) -> Curves:
        """Return the first ``n`` epochs (all, when there are fewer)."""
        part = Curves()
        part._rows = self._rows[:n]
        return part

    def save(self, path: Path) -> None:
        """Write an .npz without pickle, whatever the path's ending."""
        with Path(path).open("wb") as file:
            np.savez(file, **{name: self.column(name) for name in COLUMNS})  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Curves:
        """Read what `save` wrote.

        Raises:
            ValueError: When it is something else.
        """
        with np.load(path, allow_pickle=False) as file:
            if set(file.files) != set(COLUMNS):
                raise ValueError(f"{path}: holds {', '.join(file.files)} instead of a fit's curves")
            columns = [file[name] for name in COLUMNS]
        curves = cls()
        curves._rows = [tuple(map(float, row)) for row in zip(*columns, strict=True)]
        return curves


def weights_epoch(row: int) -> int:
    """Return the epoch whose weights row ``row`` (1-based) measured; the start counts as epoch 1."""
    return max(1, row - 1)


def peak(curves: Curves) -> int | None:
    """Return the epoch of the highest PSNR, None without a clean picture."""
    psnr = curves.column("psnr")
    return None if np.isnan(psnr).all() else weights_epoch(int(np.nanargmax(psnr)) + 1)


def best_kept(kept: Mapping[int, float | None]) -> tuple[int, float] | None:
    """Return the kept epoch of the highest PSNR (the first of equals) and that; None where none has a PSNR."""
    rated = [(epoch, psnr) for epoch, psnr in kept.items() if psnr is not None]
    return max(rated, key=lambda pair: pair[1], default=None)


def crossing(curves: Curves) -> int | None:
    """Return the first epoch at which the output is nearer to y than to the clean picture.

    There half of the noise has been learnt: |n|^2 = 2 <out - x, n>. None where it has not happened.
    """
    nearer = curves.column("loss_noisy") < curves.column("loss_clean")
    return weights_epoch(int(nearer.argmax()) + 1) if nearer.any() else None
