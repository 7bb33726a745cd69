"""Write the files of a run: pictures, a panel, a strip, metrics.json, TensorBoard events, the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch.utils.tensorboard import SummaryWriter

from dipddpm.degradation.problem import Problem
from dipddpm.diffusion.restore import Restoration
from dipddpm.dip import tracking
from dipddpm.dip.curves import best_kept, crossing, peak
from dipddpm.dip.module import fixed_input
from dipddpm.files import utf8_path, write_json, write_text
from dipddpm.metrics import quality
from dipddpm.names import BASELINES, RESULTS, SECOND_FIT, TABLE
from dipddpm.ownership import claimed
from dipddpm.pictures import panels, write
from dipddpm.runs import board, fingerprints, report
from dipddpm.runs.job import EVENTS
from dipddpm.runs.report import Row
from dipddpm.runs.starts import FittedStart, Start


def leave(
    folder: Path,
    config: Mapping[str, Any],
    problem: Problem,
    start: Start,
    rows: Mapping[str, Row],
    record: Mapping[str, Any],
    result: Restoration | None = None,
) -> None:
    """Write a run's files and print its table; metrics.json comes last.

    Args:
        folder: The folder of the run.
        config: The resolved configuration, as builtins.
        problem: The problem that was restored.
        start: The picture that a window can start from.
        rows: The restorations, by their names in metrics.json.
        record: The other entries of metrics.json.
        result: The restoration by the window; None for a fit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False))
    clear(folder)
    figures = {name: row.as_dict() for name, row in rows.items()}
    with utf8_path(folder) as path, SummaryWriter(path, filename_suffix=EVENTS) as events:
        for name, row in rows.items():
            for i, picture in enumerate(row.picture):
                write.save_picture(folder / (f"{name}.png" if i == 0 else f"{name}-{i}.png"), picture)
        if problem.clean is not None:
            write.save_picture(folder / "clean.png", problem.clean)
        pictures = {name: row.picture for name, row in rows.items()}
        if problem.operator.partial:
            write.save_picture(folder / f"{problem.operator.shown_as}.png", problem.shown)
            pictures[problem.operator.shown_as] = problem.shown
        tracking.log_pictures(events, "restored", pictures, 0)
        titled = _titled(problem, rows, record.get("cost", {}))
        save_panel(folder / "panel.png", events, "panel", panels.result_panel(titled))
        if isinstance(start, FittedStart):
            save_panel(folder / "fit.png", events, "fit", _fit_panel(config, problem, start))
        if result is not None:
            frames = [picture for _, picture in result.snapshots]
            save_panel(folder / "strip.png", events, "strip", panels.strip(frames, _labels(problem, result)))
            for level, picture in result.snapshots:
                walked = result.levels[0] - level
                tracking.log_pictures(
                    events, "window", {"state": picture}, walked, "step: levels walked down from the start"
                )
            for level, psnr in result.psnrs:
                board.log_scalar(events, "window/psnr", psnr, result.levels[0] - level, board.WINDOW)
        board.log(events, config, figures, record)
    files = fingerprints.written(folder, pictures_in(folder))
    write_json(folder / "metrics.json", {**figures, **record, "files": files})
    report.show(list(rows.values()), _notes(folder, problem, rows, record))


def clear(folder: Path) -> None:
    """Remove the events and pictures of an earlier run in this folder: TensorBoard would show both runs as one."""
    own = claimed(folder) or ()
    older = [name for name in own if name == TABLE or name.startswith("events.")]  # of versions without `EVENTS`
    older += [path.name for path in folder.glob(f"events.out.tfevents.*{EVENTS}")]
    for name in (*pictures_in(folder), *older):
        (folder / name).unlink(missing_ok=True)


def pictures_in(folder: Path) -> list[str]:
    """Return the names of the folder's pictures that are this project's, those of its results included."""
    results = [f"{RESULTS}/{name}" for name in claimed(folder / RESULTS) or ()]
    return [name for name in (*(claimed(folder) or ()), *results) if name.endswith(".png")]


def save_panel(path: Path, events: SummaryWriter, tag: str, panel: np.ndarray) -> None:
    write.save_picture(path, panel / 255)
    tracking.log_pixels(events, tag, panel, 0)


def _titled(problem: Problem, rows: Mapping[str, Row], cost: Mapping[str, float]) -> list[tuple[str, torch.Tensor]]:
    """Return titles and pictures of the panel. A title has all qualities and the cost, of window and fit."""
    items = [] if problem.clean is None else [("clean picture", problem.clean)]
    if problem.operator.partial:
        items.append((problem.operator.words, problem.shown))
    for name, row in rows.items():
        measured = report.qualities(row.quality)
        spent = f"{row.nfe} NFE" if row.nfe else ""
        if name in ("dip", "result") and (fit := cost.get("fit_evaluations_worth")):
            spent = f"{spent} + fit {fit:.0f}".removeprefix(" + ")
        if name == "result" and (learning := cost.get("learning_evaluations_worth")):
            spent = f"{spent} + DIP {learning:.0f}"
        items.append(("\n".join(filter(None, (row.name, measured, spent))), row.picture[:1]))
    return items


def _labels(problem: Problem, result: Restoration) -> list[str]:
    """Return the labels of the strip: the noise level and, with a clean picture, the PSNR of each picture."""
    labels = [f"{'start: ' * (i == 0)}level {level}" for i, (level, _) in enumerate(result.snapshots)]
    if problem.clean is None:
        return labels
    figures = [quality.psnr(picture, problem.clean).item() for _, picture in result.snapshots]
    return [f"{label}\n{psnr:.2f} dB" for label, psnr in zip(labels, figures, strict=True)]


def _fit_panel(config: Mapping[str, Any], problem: Problem, start: FittedStart) -> np.ndarray:
    fit, choice = start.fit, start.choice
    marks = {"peak": peak(fit.curves), "crossing": crossing(fit.curves) if problem.has_crossing else None}
    if choice.stop:
        marks[str(config["stopping"]["rule"])] = choice.stop.epoch
    best = best_kept(fit.kept)
    has_clean = problem.clean is not None
    return panels.FitPanel(
        loss_noisy=fit.curves.column("loss_noisy"),
        loss_clean=fit.curves.column("loss_clean") if has_clean else None,
        noisy=problem.shown,
        clean=problem.clean,
        z=fixed_input(problem.noisy.shape, config["seed"], problem.content),
        current=start.picture,
        best=fit.picture(best[0]) if best else None,
        marks={name: epoch for name, epoch in marks.items() if epoch is not None},
        title="DIP, {network} {layers}x{channels}, ".format(**config["dip"]) + start.label,
        given=f"y, {problem.operator.words}" if problem.operator.partial else "noisy picture y",
    ).draw()


def _without_a_dip(rows: Mapping[str, Row], picture: str) -> list[str]:
    """Return the note that compares the result with the two starts without a DIP, or nothing."""
    result, said = rows["result"].quality.get("psnr"), []
    if result is None:
        return []
    for row in (rows[name] for name in reversed(BASELINES) if name in rows):
        said.append(f"{row.quality['psnr'] - result:+.2f} dB in {row.nfe} evaluation{'s' * (row.nfe > 1)}")
    return [f"without a DIP, from the {picture} picture, against the result: {', '.join(said)}"] if said else []


def _notes(folder: Path, problem: Problem, rows: Mapping[str, Row], record: Mapping[str, Any]) -> list[str]:
    notes = []
    if fit := record.get("fit"):
        s = fit["summary"]
        named = {"peak": "highest PSNR at"}
        marks = [f"{named.get(k, k)} {v}" for k, v in s.items() if k != "epochs" and v is not None]
        notes.append(", ".join([f"fit {fit['key']}: {fit['epochs']} epochs", *marks]))
    compared = _without_a_dip(rows, problem.operator.completion) if "result" in rows else []
    return [*notes, *notes_of(rows, record, compared), f"pictures and metrics.json are in {folder}"]


def notes_of(rows: Mapping[str, Row], record: Mapping[str, Any], compared: Sequence[str], each: str = "") -> list[str]:
    """Return the notes on cost, window and noise.

    Args:
        rows: The rows of the table.
        record: The other entries of metrics.json.
        compared: The notes that compare the result of a DIP start with the starts without a DIP.
        each: `` a picture`` where the figures are means over pictures.
    """
    notes = []
    if (cost := record.get("cost")) and (total := cost.get("total_evaluations_worth")) is not None:
        seconds = f"{cost['total_seconds']:.1f} s"
        dip = record.get("fit") if cost["fit_gflop"] else None  # the plain DDPM needs no fit
        share = f", {cost['fit_evaluations_worth']:.0f} of them for the fit" if dip else ""
        if learning := cost.get("learning_evaluations_worth"):
            share += f", {learning:.0f} for the DIP in the window"
        chain = record["prior"]["levels"]
        evaluations = f"{total:.0f} evaluation{'' if round(total) == 1 else 's'}"
        notes.append(f"cost{each}: the arithmetic of {evaluations}{share}; the whole chain takes {chain}")
        if dip:
            notes += compared
            then = "" if dip["made_by_this_run"] else " (measured when the stored fit was made)"
            seconds += f", {cost['fit_seconds']:.1f} s of them for the fit{then}"
        notes.append(f"time{each}: {seconds}")
    window = record.get("window") or {}
    if window.get("error_source") == "oracle" and (why := window["error_used_by"]):
        start = "DIP output" if "dip" in rows else "start"
        notes.append(f"oracle error: {' and '.join(why)} took the error of the {start} from the clean picture")
    if window.get("error_source") == SECOND_FIT and (why := window["error_used_by"]):
        sigma = window["error_sigma"]
        notes.append(
            f"estimated error: {' and '.join(why)} took the error of the DIP output, {sigma:.1f}, from a second fit"
        )
    if window.get("still_noisy"):
        notes.append(f"the result is still noisy: the window ends at noise level {record['window']['end_t']}")
    if record["noise"]["source"] == "estimated":
        sigma = record["noise"]["sigma"]
        notes.append(
            f"the noise was estimated as sigma {sigma:.1f}, which is right for white noise and too low for other "
            "noise: where blotches stay, type a larger noise.sigma=<0-255 scale>"
        )
    return notes
