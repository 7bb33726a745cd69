"""Stopping rules: pure functions of a fit's curves, so that any rule can be asked of any stored fit.

Each has the prefix property: a longer fit does not change its answer. An epoch that a rule names is one of
stored weights (see `dipddpm.dip.curves`); ``fired_at`` is the epoch in which the rule could know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dipddpm.dip.curves import Curves, crossing, peak, weights_epoch
from dipddpm.registry import Registry

SETTLED = 100  # rows before which the moving variance still remembers its start
PATIENCE = 1000  # epochs, the paper's


@dataclass(frozen=True)
class Stop:
    """What a rule says: the epoch whose weights it picks, and the epoch at which it could know."""

    epoch: int
    fired_at: int


Rule = Callable[[Curves], Stop | None]


class NamedRule(Protocol):
    """A rule that is registered: a function of curves that takes both settings and may leave them unread."""

    def __call__(self, curves: Curves, *, threshold: float | None, patience: int | None) -> Stop | None: ...


RULES: Registry[NamedRule] = Registry("stopping rule")


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


def wmv(curves: Curves, *, patience: int = PATIENCE) -> Stop | None:
    """Pick the minimum of the windowed variance that has stood for ``patience`` epochs.

    Wang et al., https://arxiv.org/abs/2112.06074, Algorithm 1.
    """
    return _standing_minimum(curves.column("window_variance"), patience)


def emv(curves: Curves, *, patience: int = PATIENCE) -> Stop | None:
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


@RULES.register("loss_floor")
def _loss_floor(curves: Curves, *, threshold: float | None, patience: int | None) -> Stop | None:
    if threshold is None:
        raise ValueError("loss_floor needs a threshold, a mean squared error: (sigma / 255)^2 for noise of sigma")
    return loss_floor(curves, threshold=threshold)


@RULES.register("wmv")
def _wmv(curves: Curves, *, threshold: float | None, patience: int | None) -> Stop | None:
    return wmv(curves, patience=PATIENCE if patience is None else patience)


@RULES.register("emv")
def _emv(curves: Curves, *, threshold: float | None, patience: int | None) -> Stop | None:
    return emv(curves, patience=PATIENCE if patience is None else patience)


@RULES.register("never")
def _never(curves: Curves, *, threshold: float | None, patience: int | None) -> Stop | None:
    return None


@dataclass(frozen=True)
class Stopping:
    """A rule with its settings: a function of curves.

    Attributes:
        rule: A name of `RULES`, or a function of the curves. The function returns a `Stop` once it can, else None. It
            must have the prefix property.
        threshold: Mean squared error, [0, 1] units, for ``loss_floor``.
        patience: Epochs, for ``wmv`` and ``emv``; None is the paper's 1000.

    Raises:
        ValueError: For an unknown name, and at the call for ``loss_floor`` without a threshold.
    """

    rule: str | Rule = "loss_floor"
    threshold: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.rule, str):
            RULES[self.rule]  # raises for an unknown name

    @property
    def name(self) -> str:
        """The rule's name, or that of its function."""
        return self.rule if isinstance(self.rule, str) else getattr(self.rule, "__name__", "rule")

    def __call__(self, curves: Curves) -> Stop | None:
        """Return what the rule says of the fit so far."""
        if not isinstance(self.rule, str):
            return self.rule(curves)
        return RULES[self.rule](curves, threshold=self.threshold, patience=self.patience)


def summarise(curves: Curves, *, threshold: float, patience: int) -> dict[str, int | None]:
    """Return the epochs of the peak, of the crossing and of every rule, None where there is none.

    Args:
        curves: Of a fit.
        threshold: For ``loss_floor``, mean squared error.
        patience: For ``wmv`` and ``emv``, epochs.
    """
    stops = {
        "loss_floor": loss_floor(curves, threshold=threshold),
        f"wmv_{patience}": wmv(curves, patience=patience),
        f"emv_{patience}": emv(curves, patience=patience),
    }
    return {
        "epochs": len(curves),
        "peak": peak(curves),
        "crossing": crossing(curves),
        **{name: stop.epoch if stop else None for name, stop in stops.items()},
    }
