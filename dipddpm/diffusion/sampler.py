"""The window sampler: from a state at one level down to another, as a generator of snapshots.

At level t the network gives a clean estimate x_0 (clipped, then made to agree with what is known of
the picture, if that is given), and a DDPM or DDIM step goes from x_t to the next level.
Windows join: [1000, 50] then [50, 0] with the same generators is bit-equal to [1000, 0], and that,
for one picture, to diffusers' DDPMPipeline. Nothing is evaluated before it is asked for: a caller
that stops early has paid for what it saw and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dipddpm.diffusion.schedule import PREDICTION_TYPES, Schedule, ddim_step, ddpm_step, draw, estimates
from dipddpm.errors import UserError

SCHEDULERS = ("ddpm", "ddim")


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Where a window stands; tensors of shape (N, 3, H, W), [-1, 1], x_t unclipped."""

    x_t: Tensor
    """The state at ``level``; still noisy when that is above 0."""
    x0: Tensor
    """The clean estimate of the last evaluation, made one step before ``level``."""
    level: int
    nfe: int
    """Network evaluations so far, per picture."""


def sample_window(
    unet: Callable[[Tensor, Tensor], Any],
    schedule: Schedule,
    x_start: Tensor,
    levels: Sequence[int],
    *,
    scheduler: str = "ddpm",
    generators: Sequence[torch.Generator],
    snapshot_every: int = 10,
    prediction_type: str = "epsilon",
    clip_sample: bool = True,
    exact: bool = False,
    data_consistency: Callable[[Tensor, int], Tensor] | None = None,
) -> Iterator[Snapshot]:
    """Take states from ``levels[0]`` down to ``levels[-1]``, one evaluation a step.

    Args:
        unet: A diffusers UNet2DModel or the like: ``unet(x, t).sample`` has the shape of x; t is
            the level less 1, a 0-d int64 tensor.
        schedule: What the network was trained with.
        x_start: shape (N, 3, H, W), float32: the states at ``levels[0]``.
        levels: Strictly falling, at least two, in 0..T; see ``dipddpm.diffusion.schedule.window``.
        scheduler: ``ddpm`` (Ho et al.) or ``ddim`` (Song et al., eta = 0, which draws no noise).
        generators: N CPU generators, one a picture; each step above level 0 draws from each.
        snapshot_every: Levels between snapshots, at least 1; the last level always has one.
        prediction_type: What the network predicts: epsilon, v_prediction or sample.
        clip_sample: Clip each clean estimate to [-1, 1].
        exact: Evaluate one picture at a time, so that results do not depend on N in the last bits.
        data_consistency: Given the (clipped) clean estimate and the level it was made at, returns
            what replaces it in the step: `dipddpm.diffusion.consistency`.

    Returns:
        A lazy iterator; grad mode is off inside its steps only.

    Raises:
        UserError: For an unknown ``scheduler`` or a ``snapshot_every`` below 1, at the call.
        ValueError: When another argument is not as described, at the call.
    """
    if scheduler not in SCHEDULERS:
        raise UserError(f"ddpm.scheduler={scheduler}: must be one of {', '.join(SCHEDULERS)}")
    if snapshot_every < 1:
        raise UserError(f"ddpm.snapshot_every={snapshot_every}: must be at least 1")
    levels = list(levels)
    falling = all(t > s for t, s in zip(levels, levels[1:], strict=False))
    if len(levels) < 2 or not falling or levels[0] > schedule.T or levels[-1] < 0:
        raise ValueError(f"levels: must be two or more, strictly falling, in {schedule.T}..0")
    if len(generators) != x_start.shape[0]:
        raise ValueError(f"generators: {len(generators)} for {x_start.shape[0]} pictures; must be one each")
    if prediction_type not in PREDICTION_TYPES:
        raise ValueError(f"prediction_type={prediction_type!r}: must be one of {', '.join(PREDICTION_TYPES)}")

    @torch.no_grad()
    def step(x_t: Tensor, t: int, s: int) -> tuple[Tensor, Tensor]:
        ab_t, ab_s = schedule.alpha_bar(t), schedule.alpha_bar(s)
        output = _evaluate(unet, x_t, torch.tensor(t - 1), exact)
        x0, eps = estimates(x_t, output, ab_t, prediction_type)
        if clip_sample:
            x0 = x0.clamp(-1, 1)
        if data_consistency is not None:
            x0 = data_consistency(x0, t)
        if scheduler == "ddim":
            return ddim_step(x0, eps, ab_s), x0
        x_s, std = ddpm_step(x_t, x0, ab_t, ab_s, schedule.variance_type)
        if s > 0:
            x_s = x_s + std * draw(x_s, generators)
        return x_s, x0

    # A generator of its own, so that the checks above run at the call. No grad mode is set across a
    # yield: it would leak into the caller.
    def run() -> Iterator[Snapshot]:
        x, last = x_start, levels[0]
        for nfe, (t, s) in enumerate(zip(levels, levels[1:], strict=False), start=1):
            x, x0 = step(x, t, s)
            if last - s >= snapshot_every or nfe == len(levels) - 1:
                last = s
                yield Snapshot(x, x0, s, nfe)

    return run()


def _evaluate(unet: Callable[[Tensor, Tensor], Any], x: Tensor, t: Tensor, exact: bool) -> Tensor:
    if exact:
        output = torch.cat([unet(row, t).sample for row in x.split(1)])
    else:
        output = unet(x, t).sample
    return output.to(x.dtype)  # states stay float32 when the network runs in bfloat16
