"""Data consistency by a Deep Image Prior (DIP) that goes on learning: ``consistency=dip``.

At noise level t the prior's clean estimate x0 becomes f(w), the output of the DIP that the window started from. Its
weights w take `STEPS` steps of Adam on

    (1 - c) |A f(w) - y|^2 + c |f(w) - x0|^2,    c = lambda sigma^2 / (r^2 + lambda sigma^2),

where r is the noise of the level. Up to a factor this is |A f(w) - y|^2 / sigma^2 + lambda |f(w) - x0|^2 / r^2, the
objective of all forms (`dipddpm.diffusion.agreement`). So A may be any operator that torch can differentiate. The
weights go on from level to level. The weights of the fit itself stay: a window learns in a copy.

References:
    Fermanian, Le Pendu and Guillemot, Regularizing the Deep Image Prior with a Learned Denoiser for Linear Inverse
    Problems, MMSP 2021, https://hal.science/hal-03310533: the two terms, for the steps of an ADMM with a denoiser.
    Chung and Ye, Deep Diffusion Image Prior for Efficient OOD Adaptation in 3D Inverse Problems, 2024,
    https://arxiv.org/abs/2407.10641, and Barbano et al., Steerable Conditional Diffusion for Out-of-Distribution
    Adaptation in Medical Image Reconstruction, 2023, https://arxiv.org/abs/2308.14409: there the weights of the
    diffusion network itself learn from y at each level.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from dipddpm.degradation.operators import Operator
from dipddpm.diffusion.consistency import ROUNDING, of_each
from dipddpm.diffusion.schedule import Schedule, to_picture, to_state

# Both numbers come from a trial with dip=skip, ddim from level 300 in 10 steps, faces at 64x64, PSNR in dB.
#   motion of 11 pixels, sigma 5, 6 faces: 10 steps 24.9, at a rate of 3e-3 24.6. DIP alone 24.0, auto 28.7
#   the same, 3 faces: 30 steps 26.1; prior_weight=10 26.5, at 3e-3 26.3; 100 25.6. DIP alone 24.3, auto 28.9
#   half of the pixels missing, 3 faces: 30 steps 28.4, at 3e-3 28.5. DIP alone 28.7, auto 33.1
# With prior_weight=3 a hundred steps gave 27.3 after the motion, and 30 with new averages of Adam at each level 26.2,
# which lies between the figures of weights 1 and 10 with the old averages. 30 steps on |f - v|^2 alone, where v is the corrected estimate of diffpir, gave 28.1. So the steps are
# probably too few for the objective, whose two terms have very different weights.
STEPS = 30  # of Adam at each noise level; its averages go on from level to level
LEARNING_RATE = 1e-3


class Fitted(Protocol):
    """A DIP that was fitted to one picture, such as `dipddpm.fits.load.LoadedFit` or a picture of `dd.fit_dip`.

    ``network`` maps ``z`` to the picture, both of shape (1, 3, H, W).
    """

    @property
    def network(self) -> nn.Module: ...

    @property
    def z(self) -> Tensor: ...


def dip_consistency(
    y: Tensor, operator: Operator, sigmas: Sequence[float], schedule: Schedule, dips: Sequence[Fitted], *, half: bool
) -> Callable[[Tensor, int], Tensor]:
    """Return the function that `dipddpm.diffusion.sampler.sample_window` calls for each clean estimate.

    Args:
        y: y itself, shape (1 or N, 3, h, w), in [0, 1] units. Missing pixels are black.
        operator: A. Its `measure` is differentiable.
        sigmas: rms of the noise of each picture of y on the 0-255 scale, times the square root of lambda. Below
            `ROUNDING` they count as that.
        schedule: The noise levels of the window.
        dips: The DIP of each picture of y. Their weights are copied.
        half: Whether the networks run in bfloat16, under autocast.

    Returns:
        A function of clean estimates, shape (N, 3, H, W) in [-1, 1] units, and their level. It returns the outputs of
        the DIPs, in the same shape. Where y has one picture, the N are samples of it, each with a copy of the DIP. It
        serves one window: it holds the weights.
    """
    noises = [max(sigma, ROUNDING) for sigma in sigmas]
    warm: _Warm | None = None

    def agree(x0: Tensor, level: int) -> Tensor:
        nonlocal warm
        if warm is None:
            warm = _Warm([dip for dip in dips for _ in range(len(x0) // len(dips))], x0.device, half)
        given, target, r = y.to(x0), to_picture(x0), schedule.sigma(level)
        share = of_each([noise**2 / (r**2 + noise**2) for noise in noises], x0)

        def objective(f: Tensor) -> Tensor:
            off, apart = operator.measure(f) - given, f - target
            squares = ((1 - share) * off.square()).flatten(1).sum(1) + (share * apart.square()).flatten(1).sum(1)
            return squares / target[0].numel()  # as large as the loss of a fit

        return to_state(warm.learn(objective))

    return agree


class _Warm:
    """Copies of the DIPs of N pictures, and their optimiser. No picture's numbers depend on another picture."""

    def __init__(self, dips: Sequence[Fitted], device: torch.device, half: bool) -> None:
        self.networks = [copy.deepcopy(dip.network).to(device) for dip in dips]
        self.inputs = [dip.z.to(device) for dip in dips]
        self.half = half
        weights = [w for network in self.networks for w in network.parameters() if w.requires_grad]
        self.optimizer = torch.optim.Adam(weights, lr=LEARNING_RATE, fused=True)

    def output(self) -> Tensor:
        """Return f(w) of each picture: float32, shape (N, 3, H, W)."""
        with torch.autocast(self.inputs[0].device.type, torch.bfloat16, enabled=self.half):
            pairs = zip(self.networks, self.inputs, strict=True)
            return torch.cat([network(z).float() for network, z in pairs])

    @torch.no_grad()
    def learn(self, objective: Callable[[Tensor], Tensor]) -> Tensor:
        """Take the steps, and return for each picture the output with the least objective.

        Args:
            objective: A function of the outputs that returns one value for each picture, shape (N,).
        """
        best, least = self._step(objective)
        for _ in range(STEPS - 1):
            f, values = self._step(objective)
            better = values < least  # no value is read: on a GPU no step waits for the step before
            best = torch.where(better.reshape(-1, 1, 1, 1), f, best)
            least = torch.where(better, values, least)
        f = self.output()
        return torch.where((objective(f) < least).reshape(-1, 1, 1, 1), f, best)

    @torch.enable_grad()
    def _step(self, objective: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Take a step; return the outputs before it and their values."""
        f = self.output()
        values = objective(f)
        self.optimizer.zero_grad()
        values.sum().backward()
        self.optimizer.step()
        return f.detach(), values.detach()
