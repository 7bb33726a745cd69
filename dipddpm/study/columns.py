"""The columns of a study: their names for programs and for people, and the paths of their values in metrics.json.

PSNR is in dB, seconds are wall-clock and per picture, NFE counts network evaluations per picture. GFLOP and
evaluations-worth count floating-point operations; one evaluation-worth is one evaluation of the DDPM network.
"""

from __future__ import annotations

from dataclasses import dataclass

from dipddpm.names import BASELINES, MACHINE, QUALITIES, SCRIPTS, STOPPED

__all__ = ["BASELINES", "COLUMNS", "FIXED", "MACHINE", "OUTPUTS", "SCRIPTS", "STOPPED", "Column"]

ROWS = {
    "noisy": "noisy",
    "dip": "DIP",
    "result": "result",
    "posterior_mean": "no DIP: 1 evaluation",
    "noisy_window": "no DIP: window",
}
OUTPUTS = {"result": "result", "dip": "DIP output"}  # names of the pictures that a study can be about


@dataclass(frozen=True)
class Column:
    """A column of figures, or of text where ``digits`` is None.

    Attributes:
        title: Heading for people; empty for a column that only programs read.
        sources: Dotted paths in metrics.json. The first path with a value is used.
        digits: Decimals for people.
    """

    title: str
    sources: tuple[str, ...] = ()
    digits: int | None = None


def _of_rows(quality: str) -> dict[str, Column]:
    title, digits = QUALITIES[quality]
    return {f"{row}_{quality}": Column(f"{name} {title}", (f"{row}.{quality}",), digits) for row, name in ROWS.items()}


COLUMNS = {
    "status": Column("status"),
    **_of_rows("psnr"),
    "total_evaluations_worth": Column("total cost (evaluations-worth)", ("cost.total_evaluations_worth",), 1),
    "nfe": Column("NFE", ("result.nfe",), 0),
    "fit_seconds": Column("fit (s)", ("cost.fit_seconds", "fit.seconds"), 2),  # cost: 0 without a fit
    "window_seconds": Column("window (s)", ("result.seconds",), 2),
    "fit_gflop": Column("fit (GFLOP)", ("cost.fit_gflop", "fit.gflop"), 1),
    **_of_rows("ssim"),
    **_of_rows("stlpips"),
    "fit_key": Column("fit", ("fit.key",)),
    "fit_epoch": Column("epoch", ("fit.epoch",), 0),
    "fit_jobs": Column("jobs of this fit", (), 0),
    "precision": Column("precision", ("environment.precision",)),  # of the job's machine, where auto is asked
    "fit_precision": Column("", ("fit.precision",)),
    "error": Column("error"),
    "command": Column("", ("command",)),
    "problem": Column(""),  # a hash of the picture and its degradation
    "samples": Column("", ("window.samples",), 0),
    "fit_evaluations_worth": Column("", ("cost.fit_evaluations_worth",), 1),
    **{f"{row}_nfe": Column("", (f"{row}.nfe",), 0) for row in BASELINES},
}
FIXED = ("study", "job", *COLUMNS)  # the other columns of a frame are the keys that its jobs typed
