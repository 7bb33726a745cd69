"""Data consistency by a Deep Image Prior (DIP) that goes on learning: ``consistency=dip``.

At each noise level the prior's clean estimate x0 is corrected to agree with y, as for ``diffpir``. The corrected
estimate is v. The DIP that made the start then learns v: its weights w take `STEPS` steps of Adam on |f(w) - v|^2. The
window goes on with f(w). So each estimate is near v, and is a picture that the DIP can make. The next level begins with
the weights of the level before. A window trains a copy: the weights of the fit do not change.

v has the least |A v - y|^2 / sigma^2 + lambda |v - x0|^2 / r^2 (`dipddpm.diffusion.consistency`). Steps of w on this
objective itself are slower: 30 steps at each level end 2 dB lower after a motion blur (3 faces).

References:
    Fermanian, Le Pendu and Guillemot, Regularizing the Deep Image Prior with a Learned Denoiser for Linear Inverse
    Problems, MMSP 2021, https://hal.science/hal-03310533: a DIP and a denoiser take turns in an ADMM.
    Chung and Ye, Deep Diffusion Image Prior for Efficient OOD Adaptation in 3D Inverse Problems, 2024,
    https://arxiv.org/abs/2407.10641, and Barbano et al., Steerable Conditional Diffusion for Out-of-Distribution
    Adaptation in Medical Image Reconstruction, 2023, https://arxiv.org/abs/2308.14409: both train the weights of the
    diffusion network itself on y at each level.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from dipddpm.diffusion.schedule import to_picture, to_state
from dipddpm.metrics.quality import mse

Correct = Callable[[Tensor, int], Tensor]  # a function of a clean estimate and its level

# Steps of Adam at each noise level. Adam keeps its averages from level to level. 100 steps give 0.2 dB more (4 faces,
# motion blur).
STEPS = 30
LEARNING_RATE = 1e-3


class Fitted(Protocol):
    """A DIP that was fitted to one picture, such as `dipddpm.fits.load.LoadedFit` or a picture of `dd.fit_dip`.

    ``network`` maps ``z`` to the picture, both of shape (1, 3, H, W).
    """

    @property
    def network(self) -> nn.Module: ...

    @property
    def z(self) -> Tensor: ...


def learning(correct: Correct, dips: Sequence[Fitted], *, half: bool) -> Correct:
    """Return the function that `dipddpm.diffusion.sampler.sample_window` calls for each clean estimate.

    Args:
        correct: The correction that makes a clean estimate agree with y (`dipddpm.diffusion.consistency`).
        dips: The DIP of each picture. Their weights are copied.
        half: Whether the networks run in bfloat16, under autocast.

    Returns:
        A function of clean estimates, shape (N, 3, H, W) in [-1, 1] units, and their level. It returns the outputs of
        the DIPs, in the same shape. With one DIP the N estimates are samples of one picture, and each has a copy of
        the DIP. The function serves one window, because the function holds the weights.
    """
    warm: _Warm | None = None

    def agree(x0: Tensor, level: int) -> Tensor:
        nonlocal warm
        if warm is None:
            warm = _Warm([dip for dip in dips for _ in range(len(x0) // len(dips))], x0.device, half)
        return to_state(warm.learn(to_picture(correct(x0, level))))

    return agree


def check(dips: object, pictures: int, size: Sequence[int]) -> Sequence[Fitted]:
    """Return the DIPs of pictures of height and width ``size``.

    Raises:
        ValueError: When they are not one for each picture, are of another size, or have no weights that can learn.
    """
    given = dips if isinstance(dips, Sequence) else ()
    if len(given) != pictures:
        raise ValueError(
            f"consistency='dip': dips must hold the DIP of each picture, got {len(given)} for {pictures} pictures: "
            "give dips=dd.fit_dip(problem).pictures"
        )
    for dip in given:
        if tuple(dip.z.shape[-2:]) != tuple(size):
            raise ValueError(f"consistency='dip': a DIP is of {tuple(dip.z.shape[-2:])}, and its picture {tuple(size)}")
        if not any(weights.requires_grad for weights in dip.network.parameters()):
            raise ValueError("consistency='dip': no weights of a DIP can learn: their requires_grad is False")
    return given


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
            outputs = torch.cat([network(z).float() for network, z in pairs])
        torch.clear_autocast_cache()  # inside a caller's autocast it would keep the weights of the first step
        return outputs

    @torch.no_grad()
    def learn(self, wanted: Tensor) -> Tensor:
        """Take the steps towards the pictures ``wanted``, shape (N, 3, H, W); return the nearest output to each."""
        best, least = self._step(wanted)
        for _ in range(STEPS - 1):
            f, values = self._step(wanted)
            better = values < least  # no value is read: on a GPU no step waits for the step before
            best = torch.where(better.reshape(-1, 1, 1, 1), f, best)
            least = torch.where(better, values, least)
        f = self.output()
        return torch.where((mse(f, wanted) < least).reshape(-1, 1, 1, 1), f, best)

    @torch.enable_grad()
    def _step(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Take a step; return the outputs before it and their distances."""
        f = self.output()
        values = mse(f, wanted)
        self.optimizer.zero_grad()
        values.sum().backward()
        self.optimizer.step()
        return f.detach(), values.detach()
