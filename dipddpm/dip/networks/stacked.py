"""N networks of one kind as one: their weights are stacked, and each maps its own z.

Reference: Model ensembling, https://docs.pytorch.org/tutorials/intermediate/ensembling.html.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap


class Stacked(nn.Module):
    """Networks of one kind. The first dimension of each parameter counts the networks.

    Args:
        nets: N networks without buffers.

    Raises:
        ValueError: For networks with buffers, such as running means: a stack would keep those of one network.
    """

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        super().__init__()
        if list(nets[0].buffers()):
            raise ValueError(f"networks {type(nets[0]).__name__} have buffers, and cannot be stacked")
        parameters, _ = stack_module_state(list(nets))
        self.names = tuple(parameters)
        self.stacked = nn.ParameterList(
            nn.Parameter(p.detach().clone(), requires_grad=p.requires_grad) for p in parameters.values()
        )
        self._one = [copy.deepcopy(nets[0]).to("meta")]  # in a list, so that its parameters are not this module's

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Map N inputs z to N pictures, both of shape (N, 3, H, W), each by its own network."""

        def one(parameters: dict[str, torch.Tensor], z: torch.Tensor) -> torch.Tensor:
            return functional_call(self._one[0], parameters, (z[None],))[0]

        return vmap(one)(dict(zip(self.names, self.stacked, strict=True)), z)

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the weights of all networks, by their names in the one network, each of shape (N, ...)."""
        return {name: p.detach() for name, p in zip(self.names, self.stacked, strict=True)}

    def joined(self, weights: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Return the state of this module from the weights of N networks."""
        return {f"stacked.{k}": torch.stack([one[name] for one in weights]) for k, name in enumerate(self.names)}


def of_one(state: Mapping[str, Any], i: int) -> dict[str, Any]:
    """Return the state of an optimiser for network ``i`` alone, from that for a stack."""
    values = {
        k: {name: v[i].clone() if v.ndim else v for name, v in each.items()} for k, each in state["state"].items()
    }
    return {**state, "state": values}


def of_all(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the state of an optimiser for a stack, from those for each network, after the same number of steps."""
    first = states[0]["state"]
    values = {
        k: {
            name: torch.stack([state["state"][k][name] for state in states]) if v.ndim else v
            for name, v in each.items()
        }
        for k, each in first.items()
    }
    return {**states[0], "state": values}
