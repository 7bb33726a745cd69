"""Count floating-point operations, 2 per multiply-add.

Seconds depend on the machine and on its other work. Operations do not, and costs are compared by them. torch's counter
counts convolutions and matrix products, which are nearly all operations of these networks.
"""

from __future__ import annotations

from collections.abc import Callable

from torch.utils.flop_counter import FlopCounterMode


def gflop(work: Callable[[], object]) -> float:
    """Run ``work()`` and return its operations in GFLOP. On the meta device nothing is computed."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9
