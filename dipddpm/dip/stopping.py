"""Stopping rules: pure functions of a fit's curves, so that any rule can be asked of any stored fit.

Each has the prefix property: a longer fit does not change its answer. An epoch that a rule names is one of
stored weights (see `dipddpm.dip.curves`); ``fired_at`` is the epoch in which the rule could know.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dipddpm.dip.curves import Curves, weights_epoch
from dipddpm.errors import UserError

SETTLED = 100  # rows before which the moving variance still remembers its start


@dataclass(frozen=True)
class Stop:
    """What a rule says: the epoch whose weights it picks, and the epoch at which it could know."""

    epoch: int
    fired_at: int


def loss_floor(curves: Curves, *, threshold: float) -> Stop | None:
    """Stop before the loss to the noisy picture falls to the noise: the original's rule.

    Args:
        curves: Of the fit so far.
        threshold: Mean squared error, (sigma / 255)^2 for noise of sigma.
    """
    reached = curves.column("loss_noisy") <= threshold
    if not reached.any():
        return None
    row = int(reached.argmax()) + 1
    return Stop(max(1, weights_epoch(row) - 1), row)


def wmv(curves: Curves, *, patience: int = 1000) -> Stop | None:
    """Pick the minimum of the windowed variance that has stood for ``patience`` epochs.

    Wang et al., https://arxiv.org/abs/2112.06074, Algorithm 1.
    """
    return _standing_minimum(curves.column("window_variance"), patience)


def emv(curves: Curves, *, patience: int = 1000) -> Stop | None:
    """Pick the minimum of the moving variance that has stood for ``patience`` epochs (Algorithm 2).

    The moving variance starts at 0, the mean being the first output; the first `SETTLED` rows, over which
    that start is forgotten (0.9^100 < 1e-4), are not asked.
    """
    variance = curves.column("moving_variance")
    variance[:SETTLED] = np.nan
    return _standing_minimum(variance, patience)


def _standing_minimum(values: np.ndarray, patience: int) -> Stop | None:
    if patience < 1:
        raise ValueError(f"patience must be 1 or more, got {patience}")
    values = np.where(np.isnan(values), np.inf, values)
    before = np.minimum.accumulate(np.concatenate([[np.inf], values[:-1]])) if len(values) else values
    rows = np.arange(1, len(values) + 1)
    newest = np.maximum.accumulate(np.where(values < before, rows, 0)) if len(values) else rows
    fired = (newest > 0) & (rows - newest >= patience)
    if not fired.any():
        return None
    row = int(fired.argmax())
    return Stop(weights_epoch(int(newest[row])), int(rows[row]))


def stop(rule: str, curves: Curves, *, threshold: float | None, patience: int | None) -> Stop | None:
    """Ask the rule of that name.

    Args:
        rule: ``loss_floor``, ``wmv``, ``emv`` or ``never``.
        curves: Of the fit so far.
        threshold: For ``loss_floor``.
        patience: For ``wmv`` and ``emv``; None is the paper's 1000.

    Raises:
        UserError: For ``loss_floor`` without a threshold.
        ValueError: For another rule.
    """
    if rule == "never":
        return None
    if rule == "loss_floor":
        if threshold is None:
            raise UserError("stopping=loss_floor: the noise is neither known nor given: type stopping.threshold=<MSE>")
        return loss_floor(curves, threshold=threshold)
    rules = {"wmv": wmv, "emv": emv}
    if rule not in rules:
        raise ValueError(f"rule must be loss_floor, wmv, emv or never, got {rule}")
    return rules[rule](curves, patience=1000 if patience is None else patience)
