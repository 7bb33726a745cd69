"""Operators one after the other, such as a blur and then a smaller picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dipddpm.degradation.blur import Blur
from dipddpm.degradation.masks import Mask
from dipddpm.degradation.operators import OPERATORS, Operator
from dipddpm.degradation.scaling import Downscale
from dipddpm.degradation.variation import total_variation

# lambda of the least total variation is WEIGHT (sigma + LEAST) / 255: of 0.003 to 0.07 over four blurs and three sigmas
# up to 5 on 5 faces it is within 0.8 dB of each one's best.
WEIGHT, LEAST = 0.04, 0.5


class Chain(Operator):
    """A x = ... A2 (A1 x): each operator takes the result of the one before.

    The last operator says which values y has: a fit does not see the values that a `Mask` at the end removed.

    Args:
        *operators: One or more, in the order in which they damage a picture.

    Raises:
        ValueError: Without an operator.
    """

    name = "chain"
    completion = "restored"

    def __init__(self, *operators: Operator):
        super().__init__()
        if not operators:
            raise ValueError("Chain() has no operators: give one or more")
        self.operators = torch.nn.ModuleList(operators)
        self.linear = all(a.linear for a in operators)

    @property
    def words(self) -> str:
        return ", then ".join(a.words for a in self._each())

    def _each(self) -> list[Operator]:
        return [a for a in self.operators if isinstance(a, Operator)]

    def measure(self, x: torch.Tensor) -> torch.Tensor:
        return self._each()[-1].measure(self._before_last(x))

    def _before_last(self, x: torch.Tensor) -> torch.Tensor:
        for a in self._each()[:-1]:
            x = a.measure(x)
        return x

    def known_in(self, y: torch.Tensor) -> torch.Tensor:
        return self._each()[-1].known_in(y)

    def residuals(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self._each()[-1].residuals(self._before_last(output), y)

    def losses(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self._each()[-1].losses(self._before_last(output), y)

    def complete(self, y: torch.Tensor, sigma: float = 0.0) -> torch.Tensor:
        """Return y completed by each operator in turn, the last one first."""
        for a in reversed(self._each()):
            y = a.complete(y, sigma)
        return y

    def bind(self, size: tuple[int, int], seed: int, content: str) -> Operator:
        """Return the chain with its random parts drawn. Each part is drawn for the size that the part before leaves."""
        bound: list[Operator] = []
        x = torch.zeros(1, 3, *size)
        for a in self._each():
            height, width = x.shape[-2:]
            bound.append(a.bind((height, width), seed, content))
            x = bound[-1].measure(x)
        return self._with(bound)

    def of(self, i: int) -> Operator:
        return self._with([a.of(i) for a in self._each()])

    def _with(self, each: Sequence[Operator]) -> Operator:
        """Return the chain of these operators: itself, where they are its own."""
        return self if all(a is b for a, b in zip(each, self._each(), strict=True)) else Chain(*each)

    @property
    def alike(self) -> str:
        return f"{self.name} {[a.alike for a in self._each()]}"

    @classmethod
    def joined(cls, bound: Sequence[Operator]) -> Operator:
        chains = [a for a in bound if isinstance(a, Chain)]
        parts = zip(*(chain._each() for chain in chains), strict=True)
        return chains[0]._with([type(same[0]).joined(same) for same in parts])

    def request(self) -> dict[str, Any]:
        parts = [{"kind": a.name, **a.request()} for a in self._each()]
        # Older fits learnt the values that a mask at the end removed. The second entry tells these fits apart.
        return {"chain": parts} | ({"values": "known"} if isinstance(self._each()[-1], Mask) else {})


@OPERATORS.register("blur_downscale")
class BlurDownscale(Chain):
    """A blur, and then means over squares.

    Args:
        blur: The blur.
        factor: Side of a square in pixels, as for `Downscale`.
    """

    name = "blur_downscale"
    shown_as = "downscaled"
    completion = "upscaled"

    def __init__(self, blur: Blur, factor: int = 4):
        super().__init__(blur, Downscale(factor))
        self.blur, self.factor = blur, factor

    def complete(self, y: torch.Tensor, sigma: float = 0.0) -> torch.Tensor:
        """Return the picture of small total variation that, blurred and made smaller, is near y."""
        return total_variation(self, y, self._each()[1].complete(y), WEIGHT * (sigma + LEAST) / 255)

    def record(self) -> dict[str, Any]:
        return self.blur.record() | {"kind": self.name, "factor": self.factor}
