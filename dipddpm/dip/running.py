"""Sums that run over the outputs of a fit: their memory on the device, and their state for a fit that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class Running:
    """Running sums over the outputs of N pictures. Each tensor has a row for each picture, but for ``count``."""

    NAMES: tuple[str, ...]  # the attributes that are the state
    count: torch.Tensor | None = None  # outputs so far, 0-d int64

    def start(self, like: torch.Tensor) -> None:
        """Make room for outputs of the shape (N, ...) of ``like``, on its device; a loaded state moves there."""
        if self.count is None:
            self.count = torch.zeros((), dtype=torch.int64)
            self._zero(like)
        for name in self.NAMES:
            setattr(self, name, getattr(self, name).to(like.device).contiguous())

    def _taken(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Count outputs of E epochs, shape (N, E, ...); return them as (N, E, values), and the count before each."""
        if self.count is None:
            self.start(x[:, 0])
        assert self.count is not None
        before = self.count + torch.arange(x.shape[1], device=x.device)
        self.count += x.shape[1]
        return x.detach().float().flatten(2), before

    def _zero(self, like: torch.Tensor) -> None:
        """Set the attributes of the state, but for ``count``, to zeros. The ring buffers of a stack take gigabytes."""
        raise NotImplementedError

    def tensors(self) -> list[torch.Tensor]:
        """Return the state itself, in the order of `NAMES`."""
        return [getattr(self, name) for name in self.NAMES]

    def state_dict(self, i: int = 0) -> dict[str, Any]:
        """Return the state of picture ``i`` as tensors. After `load_state_dicts` the next values are bit-equal."""
        if self.count is None:
            return {}
        values = {name: getattr(self, name) for name in self.NAMES}
        return {name: (t if name == "count" else t[i]).clone() for name, t in values.items()}

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> None:
        """Restore the states of N pictures, after the same number of outputs."""
        for name in self.NAMES if states[0] else ():
            parts = [state[name] for state in states]
            setattr(self, name, parts[0].clone() if name == "count" else torch.stack(parts).clone())
