"""Which kept epoch of a fit ``checkpoint`` means."""

from __future__ import annotations

from dataclasses import dataclass

from dipddpm.dip.curves import best_kept
from dipddpm.dip.keeping import Trajectory
from dipddpm.dip.stopping import Rule, Stop


@dataclass(frozen=True)
class Choice:
    """The epoch to start from.

    Attributes:
        epoch: A kept one.
        why: A rule's name, ``max_epochs``, ``last``, ``oracle`` or ``given``.
        stop: What the rule said.
        needed: Epochs that had to be run to know; the fit's cost is counted over these.
    """

    epoch: int
    why: str
    stop: Stop | None
    needed: int


def choose(
    fit: Trajectory, checkpoint: int | str, *, rule: Rule, rule_name: str, max_epochs: int, every: int
) -> Choice | None:
    """Return the kept epoch that ``checkpoint`` means, or None while the fit is too short to tell.

    The answer depends on the curves up to where the rule fires (or ``max_epochs``) alone, not on how far the
    stored fit goes, nor on where earlier runs ended: only every ``every``th epoch is looked at.

    Args:
        fit: The trajectory so far.
        checkpoint: A kept epoch, ``stop``, ``last`` or ``oracle``.
        rule: Pure function of curves.
        rule_name: For the answer.
        max_epochs: Where a fit ends whose rule does not fire; at least ``every``.
        every: Epochs between kept ones. A rule that fires before the first means the first.

    Raises:
        ValueError: For ``oracle`` without a clean picture.
    """
    if isinstance(checkpoint, int):
        stop = rule(fit.curves.head(min(checkpoint, max_epochs)))
        return Choice(checkpoint, "given", stop, checkpoint) if checkpoint in fit.kept else None
    stop = rule(fit.curves.head(max_epochs))
    end = max(every, stop.fired_at if stop else max_epochs)
    if fit.epochs < end:
        return None
    kept = {e: fit.kept[e] for e in range(every, end + 1, every)}
    if checkpoint == "oracle":
        best = best_kept(kept)
        if best is None:
            raise ValueError("checkpoint: oracle needs a fit that knew its clean picture")
        return Choice(best[0], "oracle", stop, end)
    if checkpoint == "stop" and stop is not None:
        return Choice(max((e for e in kept if e <= stop.epoch), default=every), rule_name, stop, end)
    return Choice(max(kept), "last" if checkpoint == "last" else "max_epochs", stop, end)
