"""Muon for the kernels of a network, AdamW for the rest.

Muon (Jordan et al., https://kellerjordan.github.io/posts/muon/) makes the update of a weight matrix nearly
orthogonal, so that all its directions are learnt at one speed; with the scale of Liu et al.
(https://arxiv.org/abs/2502.16982) it takes AdamW's learning rate. Muon takes matrices only: a
convolution is given to it as the matrix (out, in x height x width) that it is, a view of the same memory.
"""

from __future__ import annotations

import torch
from torch import nn

from dipddpm.environment import has_bf16
from scripts.muon import Muon


def _order(w: torch.Tensor) -> list[int]:
    """Return all dimensions but the first in the order in which they lie in memory."""
    return sorted(range(1, w.dim()), key=w.stride, reverse=True)


class MuonAdamW:
    """Both optimisers as one: Muon for the kernels, AdamW for vectors and for the first and last layer.

    Args:
        model: Network whose first and last layer are ``conv_in`` and ``conv_out``.
        lr: Learning rate of both.
        momentum: Muon's.
    """

    def __init__(self, model: nn.Module, lr: float, momentum: float = 0.95):
        ends = {id(p) for name, p in model.named_parameters() if name.startswith(("conv_in.", "conv_out."))}
        self._kernels = [p for p in model.parameters() if p.dim() >= 2 and id(p) not in ends]
        self._matrices = [nn.Parameter(p.data.permute(0, *_order(p)).reshape(len(p), -1)) for p in self._kernels]
        rest = [p for p in model.parameters() if p.dim() < 2 or id(p) in ends]
        for p, m in zip(self._kernels, self._matrices, strict=True):
            assert m.data_ptr() == p.data_ptr(), "a copy would never reach the network"
        dtype = torch.bfloat16 if has_bf16(self._matrices[0].device.type) else torch.float32
        muon = Muon(self._matrices, lr, momentum, dtype)
        self.optimizers: list[torch.optim.Optimizer] = [muon, torch.optim.AdamW(rest, lr=lr, weight_decay=0.0)]

    @property
    def param_groups(self) -> list[dict]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self) -> None:
        for p, m in zip(self._kernels, self._matrices, strict=True):
            assert p.grad is not None
            m.grad = p.grad.permute(0, *_order(p)).reshape(m.shape)
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        for p in self._kernels:
            p.grad = None

    def state_dict(self) -> list[dict]:
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load_state_dict(self, states: list[dict]) -> None:
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)
