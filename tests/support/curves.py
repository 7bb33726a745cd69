"""Curves of a model of a DIP, with known answers."""

import numpy as np

from dipddpm.dip.curves import COLUMNS, Curves

PIXELS = 3 * 11 * 13


def from_columns(**columns):
    """Curves with these columns, NaN in the others."""
    curves = Curves()
    for i in range(len(next(iter(columns.values())))):
        curves.append(**dict.fromkeys(COLUMNS, np.nan) | {name: values[i] for name, values in columns.items()})
    return curves


def linear_dip(rows=41, angle=0.0, seed=0):
    """A DIP that learns the noise n as it forgets its error r: out = x + a n + (1 - a) r, a = k / rows in row k + 1.

    With <n, r> = 0 and |r|^2 = |n|^2 / 4 the best a is 1/5 and the loss to y passes that to x at a = 1/2.
    ``angle`` turns r towards n. Returns the curves and <out - x, n> / |n|^2 of every row.
    """
    rng = np.random.default_rng(seed)
    n, other = rng.normal(size=(2, PIXELS))
    across = other - n * (other @ n) / (n @ n)
    r = np.cos(angle) * across * np.sqrt((n @ n) / (across @ across)) / 2 + np.sin(angle) * n / 2
    a = np.arange(rows)[:, None] / rows
    error = a * n + (1 - a) * r  # out - x
    loss_clean, loss_noisy = np.mean(error**2, axis=1), np.mean((error - n) ** 2, axis=1)
    curves = from_columns(loss_clean=loss_clean, loss_noisy=loss_noisy, psnr=-10 * np.log10(loss_clean))
    return curves, error @ n / (n @ n)
