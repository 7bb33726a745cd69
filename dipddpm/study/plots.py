"""The pictures of a study: quality against cost, heat maps, a sheet of results.

Drawn on matplotlib figures of their own (never pyplot), so that there is no global state. The same study gives the
same bytes: no dates, no random identifiers.
"""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from PIL import Image

from dipddpm.files import replacing
from dipddpm.study.front import baselines, front_of, looks, measured, problems, setting_keys
from dipddpm.study.heat import HeatMap
from dipddpm.study.order import UNSET, natural, short, short_names
from dipddpm.study.read import Job, Study

DPI = 150
MOST_COLOURS = 8  # values of a swept key that a legend can tell apart
BASELINE_LOOKS = {"posterior_mean": ("D", "no DIP: one evaluation"), "noisy_window": ("s", "no DIP: a window")}
AXES = {
    "result": "total cost: DIP fit and window, in evaluations-worth of the DDPM network",
    "dip": "cost of the fit, GFLOP",
}
THUMBNAIL, CAPTION, GAP = 160, 44, 10  # pixels: a result's width, the lines beneath it, the space around
SHEET_COLUMNS = 8


def quality_against_cost(study: Study) -> Figure | None:
    """Draw PSNR against cost, the Pareto front, and the starts without a DIP; means where there are several problems.

    Returns:
        None when there is no point.
    """
    points = measured(study)
    if not points:
        return None
    figure, ax = _scattered(study, [(point.jobs, (point.worth, point.psnr)) for point in points])
    front = np.array([(point.worth, point.psnr) for point in front_of(points)])
    ax.step(*front.T, where="post", color="0.25", linewidth=1, label=f"Pareto front of the {study.output}s", zorder=2)
    ax.scatter(*front.T, s=70, facecolors="none", edgecolors="0.25", linewidths=1, zorder=4)
    for name, places in baselines(study).items():
        marker, title = BASELINE_LOOKS[name]
        if places:
            ax.scatter(*np.array(places).T, s=42, marker=marker, facecolors="none", edgecolors="C3", label=title)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    if math.log10(ax.get_xlim()[1] / ax.get_xlim()[0]) > 1:  # within one decade the minor ticks need their numbers
        ax.xaxis.set_minor_formatter("")
    else:
        ax.xaxis.set_minor_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.set_xlabel(AXES[study.row])
    ax.set_ylabel(f"{'mean ' if problems(study).averaged else ''}PSNR of the {study.output} (dB)")
    ax.grid(alpha=0.25)
    ax.legend(fontsize=8, loc="best")
    return figure


def perception_against_distortion(study: Study) -> Figure | None:
    """Draw ST-LPIPS against PSNR: what a window draws looks more alike and is further off than an average of pictures.

    Blau and Michaeli, The Perception-Distortion Tradeoff, CVPR 2018, https://arxiv.org/abs/1711.06077.

    Returns:
        None when no job has both.
    """
    points = looks(study, study.row)
    if not points:
        return None
    figure, ax = _scattered(study, [(point.jobs, (point.psnr, point.stlpips)) for point in points])
    others = {} if study.row == "dip" else {"dip": ("^", "DIP alone"), **BASELINE_LOOKS}
    for row, (marker, title) in others.items():
        places = sorted({(point.psnr, point.stlpips) for point in looks(study, row)})
        if places:
            colour = "0.5" if row == "dip" else "C3"
            ax.scatter(*np.array(places).T, s=42, marker=marker, facecolors="none", edgecolors=colour, label=title)
    ax.set_xlabel(f"{'mean ' if problems(study).averaged else ''}PSNR (dB), more is nearer")
    ax.set_ylabel("ST-LPIPS, less looks more alike")
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.25)
    figure.legend(fontsize=8, loc="outside lower center", ncols=3)  # beside the points, which may lie anywhere
    return figure


def heat_map(heat: HeatMap) -> Figure:
    """Draw a heat map with its values in the cells; a cell without a result is empty."""
    tall, wide = len(heat.rows), len(heat.columns)
    slanted = max(map(len, heat.columns)) > 6
    height = 1.7 + 0.42 * max(tall, 2) + (0.5 if slanted else 0)
    figure = Figure(figsize=(2.4 + 0.62 * max(wide, 3), height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    means = np.array([[math.nan if v is None else v for v in line] for line in heat.means], dtype=float)
    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    ax.imshow(np.ma.masked_invalid(means), cmap="viridis", aspect="auto", vmin=low, vmax=max(high, low + 1e-9))
    for (i, j), value in np.ndenumerate(means):
        if not math.isnan(value):
            dark = value - low < 0.6 * (high - low) or high == low
            ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if dark else "black")
    ax.set_xticks(range(wide), [_plain(short(v)) for v in heat.columns], rotation=30 if slanted else 0,
                  ha="right" if slanted else "center", fontsize=8)  # fmt: skip
    ax.set_yticks(range(tall), [_plain(short(v)) for v in heat.rows], fontsize=8)
    ax.set_xlabel(_plain(heat.column_key))
    ax.set_ylabel(_plain(heat.row_key))
    ax.set_title(_plain("\n".join(textwrap.wrap(caption(heat), 15 + 9 * max(wide, 3)))), fontsize=9)
    return figure


def caption(heat: HeatMap) -> str:
    """Return what the cells of a heat map are."""
    counts = [n for line in heat.counts for n in line if n]
    over = f" averaged over {', '.join(heat.averaged)}" if heat.averaged else ""
    many = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else f"{counts[0]}"
    jobs = f", {many} {'job' if max(counts) == 1 else 'jobs'} a cell" if over or max(counts) > 1 else ""
    return f"PSNR of the {heat.output} (dB){over}{jobs}"


def contact_sheet(pictures: Sequence[Image.Image], labels: Sequence[str], more: int) -> Figure | None:
    """Draw results with their labels beneath.

    Args:
        pictures: RGB, of any sizes.
        labels: One each.
        more: How many there are that are not among them.

    Returns:
        None when there is none.
    """
    if not pictures:
        return None
    across = min(SHEET_COLUMNS, len(pictures))
    down = math.ceil(len(pictures) / across)
    foot = 24 if more else 0
    width = across * (THUMBNAIL + GAP) + GAP
    height = down * (THUMBNAIL + CAPTION + GAP) + GAP + foot
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    FigureCanvasAgg(figure)
    for i, (picture, text) in enumerate(zip(pictures, labels, strict=True)):
        left = GAP + (i % across) * (THUMBNAIL + GAP)
        bottom = height - (i // across + 1) * (THUMBNAIL + GAP) - (i // across) * CAPTION
        scale = THUMBNAIL / max(picture.size)
        how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS  # show small pictures as they are
        size = [max(1, round(side * scale)) for side in picture.size]
        figure.figimage(np.asarray(picture.resize((size[0], size[1]), how)), left, bottom, origin="upper")
        lines = textwrap.shorten(text, 3 * 27, placeholder=" ...")
        words = "\n".join(textwrap.wrap(lines, 27))
        figure.text(left / width, (bottom - 4) / height, _plain(words), fontsize=7.5, va="top")
    if more:
        words = f"{more} more {'is' if more == 1 else 'are'} not shown"
        figure.text(0.5, foot / 2 / height, words, ha="center", va="center", fontsize=9)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box stands for it; the page has the text itself
        warnings.filterwarnings("ignore", "constrained_layout not applied")  # labels too long to fit: drawn anyway
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _scattered(study: Study, points: Sequence[tuple[Sequence[Job], tuple[float, float]]]) -> tuple[Figure, Axes]:
    """Return a chart of points (jobs, (x, y)), coloured by the first swept key that a legend can show."""
    figure = Figure(figsize=(8, 5), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    xy = np.array([place for _, place in points])
    for name, chosen in _coloured(study, [jobs for jobs, _ in points]):
        ax.scatter(*xy[chosen].T, s=28, alpha=0.8, linewidths=0, label=name, zorder=3)
    return figure, ax


def _coloured(study: Study, points: Sequence[Sequence[Job]]) -> list[tuple[str, list[int]]]:
    """Return (label, indices) by the first swept key that a legend can show; one group where there is none."""
    keys = setting_keys(study, problems(study).keys) if problems(study).averaged else study.swept
    names = short_names(study.swept)

    def what(chosen: Sequence[int]) -> str:
        dips = {job.has_dip for i in chosen for job in points[i]}
        if study.row != "result" or len(dips) > 1:
            return study.output
        return "DIP, then DDPM" if True in dips else "no DIP, then DDPM"

    for key in keys:
        told = [jobs[0].overrides.get(key, UNSET) for jobs in points]
        values = sorted(set(told), key=natural)
        if 1 < len(values) <= MOST_COLOURS:
            groups = {v: [i for i, o in enumerate(told) if o == v] for v in values}
            return [(_plain(f"{what(of)}: {names[key]}={short(v)}"), of) for v, of in groups.items()]
    every = list(range(len(points)))
    return [(what(every), every)]


def _plain(text: str) -> str:
    r"""Keep matplotlib from reading ``$`` as mathematics."""
    return text.replace("$", r"\$")
