"""Let a prior's one evaluation and denoisers that were not learnt clean the same noisy pictures.

x_t / sqrt(alpha_bar) is x0 plus white noise of known sigma: that is what the other denoisers get.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from dipddpm.diffusion.schedule import to_picture
from dipddpm.diffusion.steps import x0_from_eps
from dipddpm.metrics.quality import psnr
from scripts import denoisers
from scripts.one_evaluation import Watch, estimate_once, noisy_states
from scripts.paired import Difference, paired_difference

LEVELS = (50, 100)  # sigma 22.0 and 43.2


def against_denoisers(
    unet: torch.nn.Module,
    alphas_cumprod: torch.Tensor,
    pictures: torch.Tensor,
    tuning: torch.Tensor,
    levels: tuple[int, ...] = LEVELS,
    others: Sequence[denoisers.Denoiser] = (denoisers.BM3D,),
    watch: Watch | None = None,
) -> list[dict[str, Any]]:
    """Let the prior and the classical denoisers clean the same noisy pictures.

    Args:
        unet: As for `errors_by_level`.
        alphas_cumprod: shape (T,), the scheduler's.
        pictures: uint8, shape (N, 3, H, W).
        tuning: Likewise, other pictures: those that the free parameters are chosen on.
        levels: Levels in 1..T; sigma is theirs.
        others: Denoisers beside the tuned ones.
        watch: Called with the number of pictures that a method has cleaned.

    Returns:
        A level, JSON types: its sigma (0-255 scale), the PSNR of the noisy pictures and of the prior,
        and for each method PSNR, settings and how much the prior is above it, per picture.
    """
    examples = denoisers.to_arrays(tuning / 255)
    results = []
    for level in levels:
        ab = alphas_cumprod[level - 1].cpu()
        sigma = float(((1 - ab) / ab).sqrt()) / 2  # of y in [0, 1]
        x0, _, x_t = noisy_states(pictures, ab, level)
        clean, y = to_picture(x0), to_picture(x_t / ab.sqrt())
        estimate = estimate_once(unet, x_t, level, watch=watch)
        prior = psnr(to_picture(x0_from_eps(x_t, estimate, ab)), clean).tolist()
        methods = []
        for method in (*(denoisers.tune(name, examples, sigma) for name in denoisers.METHODS), *others):
            quality = []
            for noisy, truth in zip(denoisers.to_arrays(y), denoisers.to_arrays(clean), strict=True):
                quality.append(denoisers.psnr(method(noisy, sigma), truth))
                if watch:
                    watch(1)
            row = {"name": method.name, "settings": method.settings, "psnr": sum(quality) / len(quality)}
            methods.append(row | {"prior_above": vars(paired_difference(prior, quality))})
        means = {"noisy": float(psnr(y, clean).mean()), "prior": sum(prior) / len(prior)}
        results.append({"level": level, "sigma": 255 * sigma, "psnr": means, "methods": methods})
    return results


def table(levels: Iterable[dict[str, Any]]) -> str:
    """Return a Markdown table of what `against_denoisers` measured."""
    lines = ["| sigma | method | settings | PSNR (dB) | prior above it (95% interval) |", "|---:|---|---|---:|---|"]
    for at in levels:
        lines.append(f"| {at['sigma']:.1f} | none: the noisy picture | | {at['psnr']['noisy']:.2f} | |")
        for m in at["methods"]:
            settings = ", ".join(f"{name} {value:g}" for name, value in m["settings"].items())
            above = Difference(**m["prior_above"])
            lines.append(f"| {at['sigma']:.1f} | {m['name']} | {settings} | {m['psnr']:.2f} | {above} |")
        lines.append(f"| {at['sigma']:.1f} | this prior, one evaluation | | {at['psnr']['prior']:.2f} | |")
    return "\n".join(lines) + "\n"
