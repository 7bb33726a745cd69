"""The settings and the final figures of a job in TensorBoard: tags, their descriptions, charts and columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams as hparams_summaries
from torch.utils.tensorboard.summary import scalar

from dipddpm.files import flat, printable
from dipddpm.names import BASELINES, QUALITIES

# Keys that change neither pictures nor cost.
UNTRACKED = ("store", "fit", "objective", "panel_every", "dip.batch", "ddpm.snapshot_every")
LAYOUT = {
    "Restoration": {
        "PSNR against evaluations, with and without a DIP": [
            "Multiline",
            ["PSNR/noisy", "PSNR/dip", "PSNR/result", "PSNR/no_dip"],
        ],
        "PSNR of the clean estimate over the window": ["Multiline", ["window/psnr"]],
    }
}
WINDOW = "PSNR of the clean estimate at each noise level of the window, in dB. Step: levels walked down from the start."
SHOWN = {
    "noisy": "y, the noisy picture",
    "dip": "the DIP output",
    "result": "the result",
    "no_dip": "the starts without a DIP: one evaluation (posterior_mean), then the window from y (noisy_window)",
}
FINALS = {
    "Cost/total_evaluations_worth": "Cost of fit and window, in evaluations of the DDPM. Step: evaluations.",
    "nfe/result": "Evaluations of the DDPM in the window.",
    "seconds/total": "Seconds of fit and window, per picture. Step: evaluations.",
    "seconds/fit": "Seconds of the fit, up to the epoch at which the start was known.",
    "epoch/start": "Epoch of the fit whose picture the window starts from.",
    "epoch/peak": "Epoch of the fit with the highest PSNR.",
    "epoch/crossing": "First epoch at which the output is nearer to y than to the clean picture.",
}
NUMBER_OR_WORD = ("image.size", "ddpm.start_t", "checkpoint")


def log(
    events: SummaryWriter,
    config: Mapping[str, Any],
    figures: Mapping[str, Mapping[str, Any]],
    record: Mapping[str, Any],
) -> None:
    """Write the settings of a job as one session of the HParams tab, its final figures, and the charts that join them.

    Args:
        events: The event writer of the job.
        config: The resolved configuration, as builtins.
        figures: The rows of metrics.json, by name.
        record: The other entries of metrics.json.
    """
    log_hparams(events, _hparams(config, record))
    for tag, points in _finals(figures, record).items():
        for step, value in points:
            log_scalar(events, tag, value, step, _described(tag))
    events.add_custom_scalars(LAYOUT)


def log_scalar(events: SummaryWriter, tag: str, value: float, step: int, description: str) -> None:
    """Write one point of a chart. ``description`` may hold Markdown."""
    assert events.file_writer is not None
    summary = scalar(tag, value)
    summary.value[0].metadata.summary_description = description
    events.file_writer.add_summary(summary, step)


def log_hparams(events: SummaryWriter, hparams: Mapping[str, Any]) -> None:
    """Write hyperparameters as one session of the HParams tab. Every scalar of the run becomes a column, too.

    ``SummaryWriter.add_hparams`` is not used. It opens a second run, and declares the columns in every run, but
    TensorBoard reads one declaration only. Without a declaration TensorBoard collects the columns of all runs:
    hyperparameters that differ come first, and every figure is a column.

    Args:
        events: The event writer of the run.
        hparams: Hyperparameters by column. None leaves the cell empty. Values that are no numbers become words;
            TensorBoard cannot sort a column of both numbers and words.
    """
    known = {k: v for k, v in hparams.items() if v is not None}
    plain = {k: v if isinstance(v, int | float) and not isinstance(v, bool) else printable(v) for k, v in known.items()}
    _, start, end = hparams_summaries(plain, {})  # the first result declares the columns
    assert events.file_writer is not None
    for summary in (start, end):
        events.file_writer.add_summary(summary)


def _hparams(config: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of TensorBoard's HParams tab: the settings that can change pictures or cost.

    TensorBoard can neither sort nor draw a column of both numbers and words, so words have a column of their own. For
    ``ddpm.start_t=auto`` the column has the noise level that the run used.
    """
    read = [k for k in config if record["command"] == "sample" or k not in ("ddpm", "prior", "baselines")]
    values = {k: v for k, v in flat({k: config[k] for k in read}).items() if k not in UNTRACKED}
    for key in NUMBER_OR_WORD:
        if isinstance(values.get(key), str):
            values[f"{key} (word)"] = values.pop(key)
    if window := record.get("window"):
        values["ddpm.start_t"] = window["start_t"]
    return values


def _finals(figures: Mapping[str, Mapping[str, Any]], record: Mapping[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """Return the final figures as points of charts: for each tag (step, value) pairs. The last values are columns.

    The step of a quality is the number of its evaluations. Both starts without a DIP are points of one tag, ``no_dip``.
    TensorBoard sorts the columns of the HParams tab by name, capitals first, and shows the first five. The most used
    figures therefore begin with capitals: the total cost, and the PSNR of each picture.
    """
    named: dict[str, list[tuple[int, Any]]] = {}
    for row, values in figures.items():
        for key, (title, _) in QUALITIES.items():
            points = named.setdefault(f"{title.split()[0]}/{'no_dip' if row in BASELINES else row}", [])
            points.append((round(values["nfe"]), values.get(key)))
    if fit := record.get("fit"):
        named |= {"epoch/start": [(0, fit["epoch"])], "seconds/fit": [(0, fit["seconds"])]}
        named |= {f"epoch/{name}": [(0, fit["summary"][name])] for name in ("peak", "crossing")}
    if cost := record.get("cost"):
        nfe = round(figures["result"]["nfe"])
        named["Cost/total_evaluations_worth"] = [(nfe, cost.get("total_evaluations_worth"))]
        named |= {"nfe/result": [(nfe, nfe)], "seconds/total": [(nfe, cost.get("total_seconds"))]}
    known = {
        tag: [(step, float(value)) for step, value in points if value is not None] for tag, points in named.items()
    }
    return {tag: points for tag, points in known.items() if points}


def _described(tag: str) -> str:
    """Return the description of a final figure's chart."""
    group, _, name = tag.partition("/")
    if tag in FINALS:
        return FINALS[tag]
    return f"{group} of {SHOWN[name]}, against the clean picture. Step: evaluations of the DDPM."
