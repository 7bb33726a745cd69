"""Judge a prior on pictures that it was not trained on: one evaluation by noise level, against classical denoisers.

The classical denoisers get x_t / sqrt(alpha_bar), which is x0 plus white noise of known sigma.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from dipddpm.diffusion import layout, prior
from dipddpm.diffusion.prior import Prior
from dipddpm.diffusion.schedule import to_picture
from dipddpm.diffusion.steps import x0_from_eps
from dipddpm.metrics.paired import Difference, paired_difference
from dipddpm.metrics.quality import psnr
from prior_training import denoisers, evaluation
from prior_training.evaluation import LEVELS, errors_by_level, estimate_once, noisy_states
from prior_training.pictures import evenly

AGAINST = (50, 100)  # noise levels of the comparison: sigma 22.0 and 43.2
BM3D = (denoisers.BM3D,)
Watch = Callable[[int], None]


def evaluate(
    folder: Path,
    held_out: torch.Tensor,
    *,
    against: int = 0,
    tuning: torch.Tensor | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Measure a prior.

    Args:
        folder: The folder of the prior.
        held_out: Held-out pictures, uint8, shape (N, 3, H, W).
        against: Number of the held-out pictures, evenly spread, that classical denoisers clean too; 0: none.
        tuning: Other pictures, same type and size, to choose the settings of those denoisers on; needed by ``against``.
        watch: Called with the number of pictures that a method has cleaned; they sum to `evaluations`.

    Returns:
        JSON types: ``sha256`` of the weights, the number of ``pictures``, ``levels`` (rows of `errors_by_level`) and,
        with ``against``, ``denoisers``.
    """
    network = prior.load(folder)
    rows = errors_by_level(network.unet, network.schedule, held_out, watch=watch)
    result: dict[str, Any] = {"sha256": layout.weights_digest(folder), "pictures": len(held_out)}
    result["levels"] = rows
    if against:
        assert tuning is not None
        chosen = held_out[evenly(len(held_out), against)]
        levels = against_denoisers(network, chosen, tuning, watch=watch)
        result["denoisers"] = {"pictures": len(chosen), "tuned_on": len(tuning), "levels": levels}
    return result


def evaluations(pictures: int, against: int) -> int:
    """Return the number of pictures that `evaluate` cleans, over all methods and noise levels."""
    methods = len(denoisers.METHODS) + len(BM3D) + 1
    return len(LEVELS) * pictures + len(AGAINST) * methods * min(pictures, against)


def against_denoisers(
    network: Prior,
    pictures: torch.Tensor,
    tuning: torch.Tensor,
    others: Sequence[denoisers.Denoiser] = BM3D,
    watch: Watch | None = None,
) -> list[dict[str, Any]]:
    """Let the prior and classical denoisers clean the same noisy pictures.

    Args:
        network: The prior.
        pictures: uint8, shape (N, 3, H, W), N of 2 or more.
        tuning: Other pictures, same type and size, to choose free settings on.
        others: Denoisers without free settings.
        watch: As for `evaluate`.

    Returns:
        One row for each noise level, of JSON types: ``level``, ``sigma`` (0-255 scale), ``psnr`` of the noisy pictures
        and of the prior, and ``methods`` with PSNR, settings and the paired difference ``prior_above``.
    """
    examples = denoisers.to_arrays(tuning / 255)
    results = []
    for level in AGAINST:
        ab = network.schedule.alpha_bar(level)
        sigma = network.schedule.sigma(level) / 255  # in [0, 1] units, as y
        x0, _, x_t = noisy_states(pictures, ab, level)
        clean, y = to_picture(x0), to_picture(x_t / ab.sqrt())
        estimate = estimate_once(network.unet, x_t, level, watch)
        ours = psnr(to_picture(x0_from_eps(x_t, estimate, ab)), clean).tolist()
        methods = []
        for method in (*(denoisers.tune(name, examples, sigma) for name in denoisers.METHODS), *others):
            quality = []
            for noisy, truth in zip(denoisers.to_arrays(y), denoisers.to_arrays(clean), strict=True):
                quality.append(denoisers.psnr(method(noisy, sigma), truth))
                if watch:
                    watch(1)
            row = {"name": method.name, "settings": method.settings, "psnr": sum(quality) / len(quality)}
            methods.append(row | {"prior_above": vars(paired_difference(ours, quality))})
        means = {"noisy": float(psnr(y, clean).mean()), "prior": sum(ours) / len(ours)}
        results.append({"level": level, "sigma": 255 * sigma, "psnr": means, "methods": methods})
    return results


def tables(result: dict[str, Any]) -> str:
    """Return the result of `evaluate` as Markdown tables."""
    text = f"One evaluation on {result['pictures']} held-out pictures:\n\n" + evaluation.table(result["levels"])
    if others := result.get("denoisers"):
        text += f"\nThe same noisy pictures cleaned by others, {others['pictures']} of these pictures:\n\n"
        text += _table(others["levels"])
    return text


def _table(levels: Iterable[dict[str, Any]]) -> str:
    lines = ["| sigma | method | settings | PSNR (dB) | prior above it (95% interval) |", "|---:|---|---|---:|---|"]
    for at in levels:
        lines.append(f"| {at['sigma']:.1f} | none: the noisy picture | | {at['psnr']['noisy']:.2f} | |")
        for m in at["methods"]:
            settings = ", ".join(f"{name} {value:g}" for name, value in m["settings"].items())
            above = Difference(**m["prior_above"])
            lines.append(f"| {at['sigma']:.1f} | {m['name']} | {settings} | {m['psnr']:.2f} | {above} |")
        lines.append(f"| {at['sigma']:.1f} | this prior, one evaluation | | {at['psnr']['prior']:.2f} | |")
    return "\n".join(lines) + "\n"
