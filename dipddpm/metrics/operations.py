"""How many floating-point operations a piece of work takes, 2 per multiply-add.

Seconds depend on the machine and on its other work. Operations do not: costs are compared by them, and the seconds
stand beside. torch's counter knows convolutions and matrix products, which are nearly all.
"""

from __future__ import annotations

from collections.abc import Callable

from torch.utils.flop_counter import FlopCounterMode


def gflop(work: Callable[[], object]) -> float:
    """Return the operations of ``work()`` in GFLOP; on the meta device nothing is computed."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9
