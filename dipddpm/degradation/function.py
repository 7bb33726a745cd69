"""Any function as an operator, from Python."""

from __future__ import annotations

from collections.abc import Callable as Function

import torch
import torch.nn.functional as F

from dipddpm.degradation.operators import Operator
from dipddpm.pictures.check import check_tensor


class Callable(Operator):
    """A x = function(x). torch differentiates the function.

        dd.degrade(clean, operator=dd.Callable(lambda x: x.clamp(min=0) ** 2.2))

    Fits go through it, and windows agree with y by gradient steps, or by conjugate gradients where it is linear. No
    store keeps such a fit: the function has no key.

    Args:
        function: A function of pictures, shape (N, 3, H, W), to y, shape (N, 3, h, w), each picture by itself. A
            ``torch.nn.Module`` moves to the device of a window.
        complete: A function of y to pictures of full size, which windows without a DIP start from. None: y itself, or
            y at ``size`` by bicubic interpolation.
        size: Height and width of the pictures, where y has others.
        linear: Whether the function is linear.
        words: The effect in words, for people.
    """

    name = "callable"

    def __init__(
        self,
        function: Function[[torch.Tensor], torch.Tensor],
        *,
        complete: Function[[torch.Tensor], torch.Tensor] | None = None,
        size: tuple[int, int] | None = None,
        linear: bool = False,
        words: str = "damaged",
    ):
        super().__init__()
        self.function, self.completing, self.size, self.said = function, complete, size, words
        self.linear = linear

    @property
    def words(self) -> str:
        return self.said

    def measure(self, x: torch.Tensor) -> torch.Tensor:
        y = self.function(x)
        check_tensor("the result of the function", y)
        return y

    def complete(self, y: torch.Tensor, sigma: float = 0.0) -> torch.Tensor:
        if self.completing is not None:
            return self.completing(y)
        if self.size is None or y.shape[-2:] == self.size:
            return y
        return F.interpolate(y, self.size, mode="bicubic", align_corners=False)
