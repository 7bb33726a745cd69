"""Muon for the kernels of a network, AdamW for the rest.

Muon (Jordan et al., https://kellerjordan.github.io/posts/muon/) makes the update of a weight matrix nearly orthogonal,
so that all directions are learnt at one speed. With the scale of Liu et al. (https://arxiv.org/abs/2502.16982) Muon
uses AdamW's learning rate. A convolution counts as the matrix (out, in x height x width).

``torch.optim.Muon`` is not used. It accepts only matrices, and always computes in bfloat16: on a processor that
emulates bfloat16 one step took longer than the gradient.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from dipddpm.environment import has_bf16

QUINTIC = (3.4445, -4.7750, 2.0315)  # a, b, c of X -> aX + b(XX')X + c(XX')^2 X (Jordan et al.)
ITERATIONS = 5


def orthogonalized(matrix: torch.Tensor) -> torch.Tensor:
    """Return a matrix with the same singular vectors, and with singular values near 1 (0.7 to 1.2).

    Args:
        matrix: Shape (M, N), in the precision of the computation. A zero matrix stays zero.
    """
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mT if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and without weight decay, for kernels of any number of dimensions.

    Args:
        kernels: Parameters of two or more dimensions. The first dimension is that of the outputs.
        lr: Learning rate. An update has an rms of about 0.2 lr.
        momentum: Decay of the average of the gradients, from 0 to below 1.
    """

    def __init__(self, kernels: Iterable[nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(kernels, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            for p in group["params"]:
                average = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(average, group["momentum"]).flatten(1)
                update = orthogonalized(update.bfloat16() if has_bf16(p.device.type) else update)
                p.add_(update.to(p.dtype).view(p.shape), alpha=-0.2 * group["lr"] * max(update.shape) ** 0.5)


def muon_and_adamw(model: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Return Muon for the kernels, and AdamW for vectors and for the layers ``conv_in`` and ``conv_out``."""
    named = dict(model.named_parameters())
    kernels = {name for name, p in named.items() if p.dim() >= 2 and not name.startswith(("conv_in.", "conv_out."))}
    rest = [p for name, p in named.items() if name not in kernels]
    return [Muon([named[name] for name in named if name in kernels], lr), adamw(rest, lr)]


def adamw(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Return AdamW without weight decay."""
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)
