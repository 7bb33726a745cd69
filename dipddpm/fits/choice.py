"""Choose the kept epoch of a fit that ``checkpoint`` names."""

from __future__ import annotations

from dataclasses import dataclass

from dipddpm.dip.curves import best_kept
from dipddpm.dip.keeping import Trajectory
from dipddpm.dip.stopping import Rule, Stop


@dataclass(frozen=True)
class Choice:
    """The chosen epoch of a fit.

    Attributes:
        epoch: The kept epoch.
        why: The reason: a rule's name, ``max_epochs``, ``last``, ``oracle`` or ``given``.
        stop: The answer of the stopping rule; None where it did not fire.
        needed: Epochs that the choice needs. The cost of the fit is counted over these.
    """

    epoch: int
    why: str
    stop: Stop | None
    needed: int


def choose(
    fit: Trajectory, checkpoint: int | str, *, rule: Rule, rule_name: str, max_epochs: int, every: int
) -> Choice | None:
    """Return the kept epoch that ``checkpoint`` names, or None while the fit is too short for it.

    The answer depends only on the curves up to the epoch at which the rule fires, or up to ``max_epochs``. It does not
    depend on the length of the stored fit, nor on the ends of earlier runs: only multiples of ``every`` are chosen.

    Args:
        fit: The trajectory so far.
        checkpoint: A kept epoch, ``stop``, ``last`` or ``oracle``.
        rule: The stopping rule: a pure function of curves.
        rule_name: The name of the rule, for `Choice.why`.
        max_epochs: Epochs of a fit whose rule does not fire, ``every`` or more.
        every: Epochs between two kept epochs. A rule that fires before the first kept epoch chooses that epoch.

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
