"""Apply every stopping rule to one long fit of a published noisy picture: the epoch, and its distance to the best PSNR.

    python bench/stopping_rules.py --picture F16 --noise 4 --side 128 --epochs 2000

The pictures are those of the ES-WMV repository (Wang et al., https://arxiv.org/abs/2112.06074): 512x512, 8 bits, with
noise that is clipped at black and white. loss_floor is therefore applied twice: with the estimated and with the true
noise. A box is cut from the middle of the picture. The picture is not resized, because resizing lowers noise. The fit
is stored: a second run finds it, and extends it for more epochs.

PSNR is that of the weights kept after the epoch of the rule, which the row after it measured (`dipddpm.dip.curves`).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `bench` run as files
from dipddpm.config import compose as config
from dipddpm.dip.curves import Curves, crossing, peak
from dipddpm.dip.stopping import Stop, emv, loss_floor, wmv
from dipddpm.fits import FitStore
from dipddpm.runs import commands as runs
from dipddpm.runs.job import Job

ROOT = Path(__file__).parents[1]
PATIENCES = (1000, 300, 100)  # epochs: the paper's patience, and shorter ones


def cut(source: Path, side: int, target: Path) -> np.ndarray:
    """Write the middle ``side`` x ``side`` pixels of an .npz file as PNG; return them on the 0-255 scale."""
    with np.load(source, allow_pickle=False) as file:
        pixels = file["arr_0"]
    top, left = ((n - side) // 2 for n in pixels.shape[:2])
    pixels = pixels[top : top + side, left : left + side]
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(target)
    return pixels.astype(np.float64)


def fit(args: argparse.Namespace, noisy: Path, clean: Path, folder: Path) -> dict[str, Any]:
    """Fit as train_dip.py does, without a stopping rule; return the content of metrics.json."""
    config.register()
    overrides = [
        "image=noisy", f"image.path={noisy}", f"image.reference={clean}", f"image.size={args.side}",
        "stopping=never", f"dip.max_epochs={args.epochs}", "dip.layers=4", "dip.channels=64",
        f"dip.precision={args.precision}",
        "dip.checkpoint_every=50", f"threads={args.threads}", "panel_every=500", f"store={args.store}",
    ]  # fmt: skip
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        runs.fit(config.typed(compose("config", overrides=overrides)), Job(folder, overrides=tuple(overrides)))
    return json.loads((folder / "metrics.json").read_text())


def ask(curves: Curves, sigma_estimated: float, sigma_true: float) -> dict[str, Stop | None]:
    """Return the answer of every rule for a fit.

    Args:
        curves: The curves of the fit.
        sigma_estimated: The estimated rms noise on the 0-255 scale, known without a clean picture.
        sigma_true: The rms of noisy minus clean picture on the 0-255 scale.
    """
    answers = {
        f"loss_floor, sigma {s:.1f} ({source})": loss_floor(curves, threshold=(s / 255) ** 2)
        for s, source in ((sigma_estimated, "estimated"), (sigma_true, "true"))
    }
    for rule in (wmv, emv):
        answers |= {f"{rule.__name__}, patience {p}": rule(curves, patience=p) for p in PATIENCES}
    return answers


def psnr_of_weights(curves: Curves, epoch: int) -> float:
    """Return the PSNR of the weights kept after ``epoch``, which row ``epoch`` + 1 (index ``epoch``) measured."""
    psnr = curves.column("psnr")
    return float(psnr[epoch]) if epoch < len(psnr) else math.nan


def table(curves: Curves, answers: dict[str, Stop | None]) -> str:
    """Return a Markdown table of epochs, PSNR and the distance to the peak."""
    best = peak(curves)
    assert best is not None
    named: dict[str, tuple[int | None, int | None]] = {"peak": (best, None)}
    named |= {name: (stop.epoch, stop.fired_at) if stop else (None, None) for name, stop in answers.items()}
    named |= {"crossing": (crossing(curves), None), "last measured": (len(curves) - 1, None)}
    top = psnr_of_weights(curves, best)
    lines = ["| | epoch | known at epoch | PSNR, dB | below the peak, dB |", "|---|---|---|---|---|"]
    for name, (epoch, fired_at) in named.items():
        if epoch is None:
            lines.append(f"| {name} | does not fire | | | |")
            continue
        psnr = psnr_of_weights(curves, epoch)
        lines.append(f"| {name} | {epoch} | {fired_at or ''} | {psnr:.2f} | {top - psnr:.2f} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Every stopping rule on one fit of a published noisy picture.")
    parser.add_argument("--picture", choices=("F16", "House"), default="F16")
    parser.add_argument(
        "--noise", type=int, choices=(2, 4), default=4, help="noise strength in the data set's numbering (4)"
    )
    parser.add_argument("--side", type=int, default=128, help="pixels of the square cut from the middle (128)")
    parser.add_argument("--epochs", type=int, default=2000, help="length of the fit (2000)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="precision of the fit (fp32)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data/eswmv", help="folder of the .npz files")
    parser.add_argument(
        "--store", type=Path, default=Path("outputs/fits"), help="folder of the stored fits (outputs/fits)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/stopping_rules"), help="folder of pictures, metrics and table"
    )
    args = parser.parse_args(argv)
    folder = args.out / f"{args.picture}-noise{args.noise}-{args.side}"
    noisy_png, clean_png = folder / "noisy8.png", folder / "clean8.png"
    noisy = cut(args.data / f"{args.picture}_noise{args.noise}.npz", args.side, noisy_png)
    clean = cut(args.data / f"{args.picture}_clean.npz", args.side, clean_png)
    sigma_true = float(np.sqrt(np.mean((noisy - clean) ** 2)))
    metrics = fit(args, noisy_png, clean_png, folder)
    stored = FitStore(args.store).find(metrics["fit"]["key"])
    assert stored is not None
    curves = stored.curves.head(args.epochs)
    sigma = metrics["noise"]["sigma"]
    text = table(curves, ask(curves, sigma, sigma_true))
    (folder / "table.md").write_text(text + "\n")
    seconds = float(np.median(curves.column("seconds")))
    print(
        f"\n{args.picture}, noise {args.noise}, {args.side}x{args.side}: sigma {sigma_true:.1f}, estimated {sigma:.1f};"
    )
    print(f"noisy picture {metrics['noisy']['psnr']:.2f} dB; {len(curves)} epochs of {seconds * 1000:.0f} ms\n\n{text}")


if __name__ == "__main__":
    main()
