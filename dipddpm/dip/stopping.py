"""Stopping rules: pure functions of a fit's curves. Every rule can be applied to every stored fit.

A rule fires at the epoch ``fired_at``, and picks the weights kept after an earlier epoch (`dipddpm.dip.curves`). Rules
have the prefix property: a longer fit does not change the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dipddpm.dip.curves import Curves, crossing, peak, weights_epoch
from dipddpm.registry import Registry

SETTLED = 100  # rows over which the moving variance still depends on its start
PATIENCE = 1000  # epochs of wmv and emv, as in the paper
HELD_OUT_PATIENCE = 100  # epochs of holdout: conf/stopping/holdout.yaml has the reason


@dataclass(frozen=True)
class Stop:
    """The answer of a rule that fired.

    Attributes:
        epoch: The epoch whose kept weights the rule picks.
        fired_at: The epoch at which the rule fired.
    """

    epoch: int
    fired_at: int


Rule = Callable[[Curves], Stop | None]


class NamedRule(Protocol):
    """A registered rule: a function of curves, threshold and patience. A rule may ignore both settings."""

    def __call__(self, curves: Curves, *, threshold: float | None, patience: int | None) -> Stop | None: ...


RULES: Registry[NamedRule] = Registry("stopping rule")


@RULES.register("loss_floor")
def loss_floor(curves: Curves, *, threshold: float | None = None, patience: int | None = None) -> Stop | None:
    """Stop before the loss to the noisy picture falls to the variance of its noise: the original's rule.

    Args:
        curves: The curves of the fit so far.
        threshold: Mean squared error in [0, 1] units: (sigma / 255)^2 for noise of sigma.
        patience: Not used.

    Raises:
        ValueError: Without a threshold.
    """
    if threshold is None:
        raise ValueError("loss_floor needs a threshold, a mean squared error: (sigma / 255)^2 for noise of sigma")
    reached = curves.column("loss_noisy") <= threshold
    if not reached.any():
        return None
    row = int(reached.argmax()) + 1
    return Stop(max(1, weights_epoch(row) - 1), row)


@RULES.register("wmv")
def wmv(curves: Curves, *, threshold: float | None = None, patience: int | None = None) -> Stop | None:
    """Pick the minimum of the windowed variance once ``patience`` epochs, by default 1000, pass without a lower one.

    Wang et al., https://arxiv.org/abs/2112.06074, Algorithm 1.
    """
    return _standing_minimum(curves.column("window_variance"), patience)


@RULES.register("emv")
def emv(curves: Curves, *, threshold: float | None = None, patience: int | None = None) -> Stop | None:
    """Pick the minimum of the moving variance once ``patience`` epochs, by default 1000, pass without a lower one.

    Wang et al., https://arxiv.org/abs/2112.06074, Algorithm 2. The moving variance starts at 0. The rule ignores the
    first `SETTLED` rows, after which the weight of the start is below 1e-4 (0.9^100).
    """
    return _standing_minimum(_settled_variance(curves), patience)


@RULES.register("holdout")
def holdout(curves: Curves, *, threshold: float | None = None, patience: int | None = None) -> Stop | None:
    """Pick the least error at held-out values once ``patience`` epochs, by default 100, pass without a lower one.

    The rule needs no sigma (`dipddpm.dip.holdout`). It never fires in a fit without held-out values.
    """
    return _standing_minimum(curves.column("holdout"), HELD_OUT_PATIENCE if patience is None else patience)


def _settled_variance(curves: Curves) -> np.ndarray:
    variance = curves.column("moving_variance")
    variance[:SETTLED] = np.nan
    return variance


def _standing_minimum(values: np.ndarray, patience: int | None) -> Stop | None:
    patience = PATIENCE if patience is None else patience
    if patience < 1:
        raise ValueError(f"patience must be 1 or more, got {patience}")
    newest, rows = _newest_minima(values), np.arange(1, len(values) + 1)
    fired = (newest > 0) & (rows - newest >= patience)
    if not fired.any():
        return None
    row = int(fired.argmax())
    return Stop(weights_epoch(int(newest[row])), int(rows[row]))


def _newest_minima(values: np.ndarray) -> np.ndarray:
    """Return the row of the lowest value up to each row; both count from 1. 0 where no value is known yet."""
    values = np.where(np.isnan(values), np.inf, values)
    before = np.minimum.accumulate(np.concatenate([[np.inf], values[:-1]])) if len(values) else values
    return np.maximum.accumulate(np.where(values < before, np.arange(1, len(values) + 1), 0))


@RULES.register("never")
def _never(curves: Curves, *, threshold: float | None, patience: int | None) -> Stop | None:
    return None


@dataclass(frozen=True)
class Stopping:
    """A stopping rule with its settings. It is called with curves.

    Attributes:
        rule: A name in `RULES`, or a function of curves. The function returns a `Stop` when it fires, else None. It
            must have the prefix property: a longer fit does not change the answer.
        threshold: Threshold of ``loss_floor``: mean squared error in [0, 1] units.
        patience: Patience in epochs. None: the paper's 1000 for ``wmv`` and ``emv``, 100 for ``holdout``.

    Raises:
        ValueError: For an unknown name; at the call for ``loss_floor`` without a threshold.
        TypeError: For a rule that is neither; at the call for a function that returns neither a `Stop` nor None.
    """

    rule: str | Rule = "loss_floor"
    threshold: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.rule, str):
            RULES[self.rule]  # raises for an unknown name
        elif not callable(self.rule):
            raise TypeError(f"stopping={self.rule!r}: must be a rule's name, a function of curves, or a Stopping")

    @property
    def name(self) -> str:
        """The name of the rule, or of its function."""
        return self.rule if isinstance(self.rule, str) else getattr(self.rule, "__name__", "rule")

    def __call__(self, curves: Curves) -> Stop | None:
        """Return the answer of the rule for the fit so far; None while it has not fired."""
        if not isinstance(self.rule, str):
            answer: object = self.rule(curves)
        else:
            answer = RULES[self.rule](curves, threshold=self.threshold, patience=self.patience)
        if answer is not None and not isinstance(answer, Stop):
            raise TypeError(f"the stopping rule {self.name} returned {answer!r}: must be dd.Stop(epoch, fired_at)")
        return answer

    def pending(self, curves: Curves) -> int | None:
        """Return the only epoch before the newest two that a longer fit may still be stopped at.

        A built-in rule names this epoch, or one that is still to come. Nothing is known of other rules: None.
        """
        if self.rule not in ("loss_floor", "never", "wmv", "emv", "holdout"):
            return None
        if self.rule in ("loss_floor", "never"):
            return len(curves)
        column = {"wmv": "window_variance", "holdout": "holdout"}.get(self.name)
        minima = _newest_minima(curves.column(column) if column else _settled_variance(curves))
        return weights_epoch(int(minima[-1])) if minima[-1] else len(curves)


def patience_of(rule: str, patience: int | None) -> tuple[int, int]:
    """Return the patience of ``wmv`` and ``emv``, and that of ``holdout``, in epochs.

    Args:
        rule: The rule that was chosen.
        patience: Its patience. None, and the other patience, is the default.
    """
    if rule == "holdout":
        return PATIENCE, patience or HELD_OUT_PATIENCE
    return patience or PATIENCE, HELD_OUT_PATIENCE


def summarise(
    curves: Curves, *, threshold: float, patience: int, held_out_patience: int = HELD_OUT_PATIENCE
) -> dict[str, int | None]:
    """Return the length of a fit and the epochs of the peak, of the crossing and of every rule; None for a missing one.

    Args:
        curves: The curves of the fit.
        threshold: Threshold of ``loss_floor``: mean squared error in [0, 1] units.
        patience: Patience of ``wmv`` and ``emv``, in epochs.
        held_out_patience: Patience of ``holdout``, in epochs. A fit without held-out values has no entry for this rule.
    """
    stops = {
        "loss_floor": loss_floor(curves, threshold=threshold),
        f"wmv_{patience}": wmv(curves, patience=patience),
        f"emv_{patience}": emv(curves, patience=patience),
    }
    if not np.isnan(curves.column("holdout")).all():
        stops[f"holdout_{held_out_patience}"] = holdout(curves, patience=held_out_patience)
    return {
        "epochs": len(curves),
        "peak": peak(curves),
        "crossing": crossing(curves),
        **{name: stop.epoch if stop else None for name, stop in stops.items()},
    }
