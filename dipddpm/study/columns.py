"""The columns of a study: their names for programs and for people, and the paths of their values in metrics.json.

PSNR is in dB, seconds are wall-clock and per picture, NFE counts network evaluations per picture. GFLOP and
evaluations-worth count floating-point operations; one evaluation-worth is one evaluation of the DDPM network. A column
with ± is half the width of a 95% interval over the pictures of a job of many.
"""

from __future__ import annotations

from dataclasses import dataclass

from dipddpm.names import BASELINES, QUALITIES

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
    found = {}
    for row, name in ROWS.items():
        found[f"{row}_{quality}"] = Column(f"{name} {title}", (f"{row}.{quality}",), digits)
        found[f"{row}_{quality}_interval"] = Column(f"{name} {title} ±", (f"{row}.interval.{quality}",), digits)
    return found


def _of_differences() -> dict[str, Column]:
    """Return the columns of the mean difference of the result to each other row, paired by picture, in dB."""
    found = {}
    for row, name in ROWS.items():
        if row != "result":
            path, title = f"differences.result.{row}", f"result - {name} (dB)"
            found[f"result_minus_{row}"] = Column(title, (f"{path}.psnr",), 2)
            found[f"result_minus_{row}_interval"] = Column(f"{title} ±", (f"{path}.interval.psnr",), 2)
    return found


COLUMNS = {
    "status": Column("status"),
    "pictures": Column("pictures", ("pictures.count",), 0),  # of a job of many: its figures are means
    **_of_rows("psnr"),
    **_of_differences(),
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
    "precision": Column("precision", ("environment.precision",)),  # of the job's machine, where auto was typed
    "fit_precision": Column("", ("fit.precision",)),
    "error": Column("error"),
    "command": Column("", ("command",)),
    "problem": Column(""),  # a hash of the picture and its degradation
    "samples": Column("", ("window.samples",), 0),
    "fit_evaluations_worth": Column("", ("cost.fit_evaluations_worth",), 1),
    **{f"{row}_nfe": Column("", (f"{row}.evaluations_worth", f"{row}.nfe"), 0) for row in BASELINES},
}
FIXED = ("study", "job", *COLUMNS)  # the other columns of a frame are the keys that its jobs typed
