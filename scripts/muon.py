"""Muon in a precision that the processor has.

torch.optim.Muon always orthogonalises in bfloat16. On a CPU without it those products are emulated: a step of
the shipped network took 5.6 s, eighteen times as long as in float32 and longer than the gradient.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

QUINTIC = (3.4445, -4.7750, 2.0315)  # of X -> aX + b(XX')X + c(XX')^2 X: Jordan et al., see `scripts.optimizer`
ITERATIONS = 5


def orthogonalized(matrix: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a matrix of the same singular vectors whose singular values are all near 1 (0.7 to 1.2).

    Args:
        matrix: Shape (M, N).
        dtype: Of the iterations and of what is returned.
    """
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(dtype)
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """torch.optim.Muon (``adjust_lr_fn="match_rms_adamw"``, no weight decay), but for the precision; its state fits.

    Args:
        matrices: Parameters of shape (M, N).
        lr: Learning rate; an update has rms about 0.2 lr.
        momentum: Of the gradients, with Nesterov's look ahead.
        dtype: Of the orthogonalisation.
    """

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float, momentum: float, dtype: torch.dtype):
        super().__init__(matrices, {"lr": lr, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            for p in group["params"]:
                assert p.grad is not None
                state = self.state[p]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(p.grad)
                mean = state["momentum_buffer"].lerp_(p.grad, 1 - group["momentum"])
                update = orthogonalized(p.grad.lerp(mean, group["momentum"]), self.dtype)
                p.add_(update, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)
