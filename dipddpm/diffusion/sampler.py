"""The window sampler: it takes states from one noise level down to another, and yields snapshots.

At level t the network gives a clean estimate x_0, which is clipped and, if wanted, made to agree with y. A step then
goes from x_t to the next level. Windows join: [1000, 50] followed by [50, 0] with the same generators is bit-equal to
[1000, 0]. That is so for ``ddpm`` and ``ddim``. A step of ``dpmpp`` uses the clean estimate of the step before, which
the first step of the second window lacks. For one picture [1000, 0] is bit-equal to diffusers' DDPMPipeline. The
sampler is lazy: it evaluates the network only when the caller asks for the next snapshot. On a GPU no step waits for
the step before: the outputs of the network are checked together, before a snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.diffusion.denoiser import Denoiser, Faults
from dipddpm.diffusion.schedule import to_picture
from dipddpm.diffusion.steps import ddim_step, ddpm_step, dpmpp_step, draw, eps_from_x0
from dipddpm.names import SCHEDULERS


@dataclass(frozen=True, eq=False)
class Consistency:
    """How the steps of a window are made to agree with y (`dipddpm.diffusion.agreement`).

    A step takes a state, its clean estimate x_0 and its noise estimate eps. Before x_0 is clipped they belong together:
    x_t = sqrt(ab) x_0 + sqrt(1 - ab) eps. After a correction of x_0 one of the other two follows from this equation.

    Attributes:
        correct: A function of the clean estimate and its level, called once a step. It returns the corrected estimate.
            If it returns its argument itself, the step is that without a correction.
        renew: After a correction eps follows from x_t, which stays. False: x_t follows from eps, which stays.
        distance: A function of the clean estimate that returns a distance to y for each picture, shape (N,). The
            gradient of the distance in x_t, through the network, is subtracted from the result of the step.
    """

    correct: Callable[[Tensor, int], Tensor] | None = None
    renew: bool = False
    distance: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The state of a window at one of its noise levels. States have the shape (N, 3, H, W) and lie about [-1, 1].

    Attributes:
        x_t: The state at ``level``, not clipped; still noisy where ``level`` is above 0.
        x0: The clean estimate of the last evaluation, made one step before ``level``.
        level: The noise level.
        nfe: Network evaluations so far, per picture.
    """

    x_t: Tensor
    x0: Tensor
    level: int
    nfe: int

    @property
    def picture(self) -> Tensor:
        """The state as a picture: shape (N, 3, H, W), clipped to [0, 1], on the CPU."""
        return shown(self.x_t)

    @property
    def estimate(self) -> Tensor:
        """The clean estimate as a picture: shape (N, 3, H, W), clipped to [0, 1], on the CPU."""
        return shown(self.x0)


def shown(state: Tensor) -> Tensor:
    """Return a state as a picture in [0, 1], clipped, on the CPU."""
    return to_picture(state).clamp(0, 1).cpu()


def sample_window(
    denoiser: Denoiser,
    x_start: Tensor,
    levels: Sequence[int],
    generators: Sequence[torch.Generator],
    *,
    scheduler: str = "ddpm",
    snapshot_every: int = 10,
    exact: bool = False,
    consistency: Consistency | None = None,
) -> Iterator[Snapshot]:
    """Take states from ``levels[0]`` down to ``levels[-1]``, one evaluation a step.

    Args:
        denoiser: The network and its schedule.
        x_start: Shape (N, 3, H, W), float32: the states at ``levels[0]``.
        levels: Two or more noise levels in 0..T, strictly falling, such as `dipddpm.diffusion.window.Window.levels`.
        generators: N CPU generators, one for each picture. Each DDPM step to a level above 0 draws from all of them.
        scheduler: ``ddpm``, ``ddim`` or ``dpmpp``.
        snapshot_every: Levels between snapshots, 1 or more. The last level always has a snapshot.
        exact: Evaluate one picture at a time, so that the last bits do not depend on N.
        consistency: How the steps are made to agree with y; None: not at all.

    Returns:
        A lazy iterator. Grad mode is off only inside its steps.

    Raises:
        ValueError: When an argument is out of range; raised at the call, before the first step.
        UserError: Before a snapshot, when the network's output was not finite. On a CPU in the step itself.
    """
    schedule, levels, faults = denoiser.schedule, list(levels), Faults(later=x_start.is_cuda)
    if scheduler not in SCHEDULERS:
        raise ValueError(f"scheduler={scheduler!r}: must be one of {', '.join(SCHEDULERS)}")
    if snapshot_every < 1:
        raise ValueError(f"snapshot_every={snapshot_every}: must be at least 1")
    falling = all(t > s for t, s in zip(levels, levels[1:], strict=False))
    if len(levels) < 2 or not falling or levels[0] > schedule.T or levels[-1] < 0:
        raise ValueError(f"levels: must be two or more, strictly falling, in {schedule.T}..0")
    if len(generators) != x_start.shape[0]:
        raise ValueError(f"generators: {len(generators)} for {x_start.shape[0]} pictures; must be one for each")

    consistency = consistency or Consistency()

    def estimated(x_t: Tensor, t: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the clean estimate, the noise estimate and the gradient of the distance to y."""
        if consistency.distance is None:
            return *denoiser.estimate(x_t, t, exact=exact, faults=faults), None
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            x0, eps = denoiser.estimate(x, t, exact=exact, faults=faults)
            (slope,) = torch.autograd.grad(consistency.distance(x0).sum(), x)
        return x0.detach(), eps.detach(), slope

    @torch.no_grad()
    def step(x_t: Tensor, t: int, s: int, before: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        ab_t, ab_s = schedule.alpha_bar(t), schedule.alpha_bar(s)
        x0, eps, slope = estimated(x_t, t)
        corrected = x0 if consistency.correct is None else consistency.correct(x0, t)
        if corrected is not x0:
            x0 = corrected
            if consistency.renew:
                eps = eps_from_x0(x_t, x0, ab_t)
            else:
                x_t = ddim_step(x0, eps, ab_t)
        if scheduler == "ddim":
            x_s = ddim_step(x0, eps, ab_s)
        elif scheduler == "dpmpp":
            x_s = dpmpp_step(x_t, x0, ab_t, ab_s, before)
        else:
            x_s, std = ddpm_step(x_t, x0, ab_t, ab_s, schedule.variance_type)
            if s > 0:
                x_s = x_s + std * draw(x_s, generators)
        return (x_s if slope is None else x_s - slope), x0

    # A separate generator function, so that the checks above run at the call. No grad mode is set across a yield: it
    # would leak into the caller.
    def run() -> Iterator[Snapshot]:
        x, last, before = x_start, levels[0], None
        for nfe, (t, s) in enumerate(zip(levels, levels[1:], strict=False), start=1):
            x, x0 = step(x, t, s, before)
            before = x0, schedule.alpha_bar(t)
            if last - s >= snapshot_every or nfe == len(levels) - 1:
                last = s
                faults.look()
                yield Snapshot(x, x0, s, nfe)

    return run()
