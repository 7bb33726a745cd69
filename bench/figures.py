"""Draw the two figures of the README: quality against cost, and the chain with its terms.

    python bench/figures.py

The first is drawn from docs/results/starts.csv, a copy of the file that ``python -m bench.tables starts`` leaves. The
chain shows a real fit and a real window of the built-in picture, which take some seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `bench` run as files

import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

import dipddpm as dd

DOCS = Path(__file__).parents[1] / "docs"
TABLE = DOCS / "results/starts.csv"
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#e69f00", "#009e73", "#666666"  # Okabe and Ito's: for all kinds of sight
STARTS = {  # name for people, colour
    "y": ("no DIP: the noisy picture itself", BLUE),
    "skip": ("small DIP (dip=skip)", ORANGE),
    "skip_z": ("small DIP with noise on z", GREEN),
    "cnn": ("plain DIP (dip=cnn)", GREY),
}
# The chain, in inches
LEVELS = (1000, 300, 200, 100, 50, 25, 0)
SIDE = 1.15
LEFT = {level: 0.35 + 1.36 * i for i, level in enumerate(LEVELS)}  # of the picture of a level, inches
TOP = 4.0  # bottom of those pictures
AXIS = 3.72


def quality_cost(table: pd.DataFrame) -> Figure:
    """Draw PSNR against total cost: a colour a start, a marker a way to step, a number a noise level."""
    figure = Figure(figsize=(8, 5), dpi=160, layout="constrained")
    ax = figure.subplots()
    for start, (_, colour) in STARTS.items():
        for way, marker in {"ten": "o", "each": "s"}.items():
            rows = table[(table["start"] == start) & (table["way"] == way) & (table["init"] != "diffused")]
            several = rows.drop_duplicates("level").sort_values("psnr", ascending=False)
            ax.plot(several["evaluations_worth"], several["psnr"], marker, color=colour, markersize=8,
                    markerfacecolor=colour if way == "ten" else "white")  # fmt: skip
            for i, (_, row) in enumerate(several.iterrows()):
                side = {"xytext": (7, 0), "ha": "left"} if i % 2 else {"xytext": (-7, 0), "ha": "right"}
                ax.annotate(f"{row['level']:.0f}", (row["evaluations_worth"], row["psnr"]), va="center",
                            textcoords="offset points", color=colour, fontsize=10, **side)  # fmt: skip
    best = table[(table["start"] == "y") & (table["way"] == "one")].iloc[0]
    ax.plot(best["evaluations_worth"], best["psnr"], "*", color=BLUE, markersize=20)
    ax.annotate(f"no DIP: {best['psnr']:.1f} dB\nfor one evaluation", (best["evaluations_worth"], best["psnr"]),
                (14, 4), textcoords="offset points", color=BLUE, weight="bold", va="top", fontsize=11)  # fmt: skip
    for start, (name, colour) in STARTS.items():
        if (table["start"] == start).any():
            ax.plot([], [], color=colour, linewidth=5, label=name)
    _frame(ax, best["faces"])
    return figure


def _frame(ax: Axes, faces: int) -> None:
    ax.plot([], [], "o", color="black", label="ten ddim steps")
    ax.plot([], [], "s", color="black", markerfacecolor="white", label="ddpm, one step a level")
    ax.axvline(1000, color="black", linestyle=":", linewidth=1)
    ax.annotate("whole chain: 1000", (1000, 0.97), (-4, 0), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="right", va="top", rotation=90, fontsize=9)  # fmt: skip
    ax.set(xscale="log", xlim=(0.7, 1500))
    ticks = [1, 3, 10, 30, 100, 300, 1000]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set_xlabel("total cost: fit and window, in evaluations of the DDPM (log scale)")
    ax.set_ylabel("PSNR (dB), higher is better")
    ax.set_title("Known Gaussian noise: starts without a DIP are better and cheaper\n", fontsize=13, weight="bold")
    ax.text(
        0.5,
        1.02,
        f"sigma 25, which is the noise of level 57; means of 25 to {faces} faces at 64x64",
        transform=ax.transAxes,
        ha="center",
        fontsize=10,
    )
    ax.grid(alpha=0.25)
    ax.legend(fontsize=9, title="numbers: noise level at the start", title_fontsize=9, loc="lower left")


def chain(table: pd.DataFrame) -> Figure:
    """Draw the chain as pictures by noise level, the DIP that enters it at level 50, and the costs of both."""
    problem = dd.degrade(dd.read_picture("astronaut", size=64), noise=dd.Gaussian(25))
    fit = dd.fit_dip(problem, network="skip", device="cpu")
    prior = dd.load_prior("faces64", device="cpu")
    window = dd.Window(50, steps=10, scheduler="ddim", snapshot_every=25)
    result = dd.restore(prior, fit.picture, window, problem)
    rows = table[(table["start"] == "skip") & (table["way"] == "ten")]
    cost = float((rows["evaluations_worth"] - rows["nfe"]).mean())

    figure = Figure(figsize=(10, 6), dpi=160)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, 10), ylim=(0, 6))
    ax.set_axis_off()
    _draw_chain(ax, _noised(problem.clean, prior), dict(result.snapshots))
    _draw_fit(ax, problem.noisy, fit.picture)
    _draw_costs(ax, cost)
    return figure


def _noised(clean: torch.Tensor | None, prior: dd.Prior) -> dict[int, torch.Tensor]:
    """Return a picture at each level before the window, with the same noise in all."""
    assert clean is not None
    eps = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    found = {}
    for level in LEVELS[:4]:
        ab = prior.schedule.alpha_bar(level)
        found[level] = ((ab**0.5 * (2 * clean - 1) + (1 - ab) ** 0.5 * eps) + 1) / 2
    return found


def _picture(ax: Axes, left: float, bottom: float, picture: torch.Tensor, alpha: float = 1) -> None:
    array = picture[0].permute(1, 2, 0).clamp(0, 1).numpy()
    ax.imshow(array, extent=(left, left + SIDE, bottom, bottom + SIDE), interpolation="nearest", alpha=alpha)
    ax.set(xlim=(0, 10), ylim=(0, 6))  # imshow moves them


def _text(ax: Axes, x: float, y: float, words: str, **how: Any) -> None:
    ax.text(x, y, words, **{"ha": "center", "va": "center", "fontsize": 12, **how})


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 2.5})


def _draw_chain(ax: Axes, before: dict[int, torch.Tensor], inside: dict[int, torch.Tensor]) -> None:
    _text(ax, 2.9, 5.6, "the part of the DDPM's chain that is left out", color=GREY)
    left, right = LEFT[50] - 0.1, LEFT[0] + SIDE + 0.1
    ax.add_patch(_box(left, TOP - 0.62, right - left, SIDE + 0.75, "#dcecf6", BLUE))
    _text(ax, (left + right) / 2, 5.6, "window: the levels 50 to 0", color=BLUE, weight="bold")
    for level in LEVELS:
        _picture(ax, LEFT[level], TOP, (before | inside)[level], alpha=0.55 if level in before else 1)
        centre = LEFT[level] + SIDE / 2
        ax.plot([centre, centre], [AXIS - 0.05, AXIS + 0.05], color="black", linewidth=1)
        _text(ax, centre, AXIS - 0.2, str(level))
    _arrow(ax, (LEFT[1000], AXIS), (LEFT[0] + SIDE, AXIS), "black")
    _text(ax, 0.35, 3.2, "noise level", ha="left", weight="bold", fontsize=13)
    _text(ax, 1.72, 3.2, "1000 is pure noise, 0 is clean (not to scale)", ha="left", fontsize=11)


def _draw_fit(ax: Axes, noisy: torch.Tensor, output: torch.Tensor) -> None:
    bottom = 1.35
    _picture(ax, LEFT[1000], bottom, noisy)
    _text(ax, LEFT[1000] + SIDE / 2, bottom - 0.2, "noisy picture")
    left, right = LEFT[300] + 0.35, LEFT[100] + 0.75
    ax.add_patch(_box(left, bottom, right - left, SIDE, "#fdf1d8", ORANGE))
    middle = bottom + SIDE / 2
    _text(ax, (left + right) / 2, middle + 0.28, "fit of a DIP (Deep Image Prior)", weight="bold")
    _text(
        ax,
        (left + right) / 2,
        middle - 0.17,
        "a small network learns this picture;\nstopped before it learns the noise",
        fontsize=11,
    )
    _arrow(ax, (LEFT[1000] + SIDE + 0.05, middle), (left - 0.05, middle), ORANGE)
    _arrow(ax, (right + 0.05, middle), (LEFT[50] - 0.05, middle), ORANGE)
    _picture(ax, LEFT[50], bottom, output)
    _text(ax, LEFT[50] + SIDE / 2, bottom - 0.2, "DIP output")
    _arrow(ax, (LEFT[50] + SIDE / 2, bottom + SIDE + 0.05), (LEFT[50] + SIDE / 2, TOP - 0.62), ORANGE)
    _text(ax, LEFT[50] + SIDE + 0.12, middle, "starts the window\nat level 50", ha="left", fontsize=11)


def _draw_costs(ax: Axes, cost: float) -> None:
    """Write what each part costs; one evaluation-worth is the arithmetic of one evaluation of the DDPM's network."""
    _text(ax, 0.35, 0.66, "evaluations-worth", ha="left", weight="bold", fontsize=13)
    _text(ax, 0.35, 0.36, "cost; 1 is one evaluation of the DDPM", ha="left", fontsize=11)
    parts = ((3.95, f"fit: {cost:.0f}", ORANGE), (4.45, "+", "black"), (5.75, "ten window steps: 10", BLUE),
             (7.15, f"= {cost + 10:.0f}", "black"), (8.8, "whole chain: 1000", GREY))  # fmt: skip
    for x, words, colour in parts:
        _text(ax, x, 0.51, words, color=colour, fontsize=13, weight="bold")


def _box(left: float, bottom: float, width: float, height: float, fill: str, edge: str) -> FancyBboxPatch:
    return FancyBboxPatch((left, bottom), width, height, "round,pad=0,rounding_size=0.08", facecolor=fill,
                          edgecolor=edge, linewidth=1.5, zorder=0)  # fmt: skip


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Software": None}, pil_kwargs={"optimize": True})
    print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")


def main() -> None:
    table = pd.read_csv(TABLE)
    save(quality_cost(table), DOCS / "quality-cost.png")
    save(chain(table), DOCS / "chain.png")


if __name__ == "__main__":
    main()
