"""Muon in a precision that the processor has, kernels of one shape together.

torch.optim.Muon always orthogonalises in bfloat16. On a CPU without it those products are emulated: a step of
the shipped network took 5.6 s, eighteen times as long as in float32 and longer than the gradient. It also takes one
matrix after the other, which on a GPU leaves most of it idle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import nn

QUINTIC = (3.4445, -4.7750, 2.0315)  # of X -> aX + b(XX')X + c(XX')^2 X: Jordan et al., see `scripts.optimizer`
ITERATIONS = 5


def orthogonalized(matrices: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return matrices of the same singular vectors whose singular values are all near 1 (0.7 to 1.2).

    Args:
        matrices: Shape (K, M, N).
        dtype: Of the iterations and of what is returned.
    """
    a, b, c = QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(dtype)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


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
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for p in group["params"]:
                alike[p.shape].append(p)
            for shape, parameters in alike.items():
                ahead = torch.stack([self._ahead(p, group["momentum"]) for p in parameters])
                for p, update in zip(parameters, orthogonalized(ahead, self.dtype), strict=True):
                    p.add_(update, alpha=-group["lr"] * 0.2 * max(shape) ** 0.5)

    def _ahead(self, p: nn.Parameter, momentum: float) -> torch.Tensor:
        """Take in a gradient; returns where the mean of them is going."""
        assert p.grad is not None
        state = self.state[p]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(p.grad)
        mean = state["momentum_buffer"].lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(mean, momentum)
