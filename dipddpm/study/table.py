"""The table of a study: one row a job, for programs (summary.csv) and for people (summary.md).

What is not known is empty, never 0: without a clean picture there is no PSNR. PSNR is in dB, seconds are
wall-clock and per picture, GFLOP and evaluations-worth count floating-point operations, as in the package's docstring.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dipddpm.names import QUALITIES, RESTORATIONS
from dipddpm.study.cost import Cost
from dipddpm.study.front import name_of
from dipddpm.study.order import short_names
from dipddpm.study.read import Job, Study
from dipddpm.study.words import against_no_dip, commands, cost_line, plural

Value = str | int | float | None
ROW_NAMES = {
    "noisy": "noisy",
    "dip": "DIP",
    "result": "result",
    "posterior_mean": "no DIP: 1 evaluation",
    "noisy_window": "no DIP: window",
}


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        name: In summary.csv and in the DataFrame.
        title: For people.
        group: The heading that it shares with its neighbours.
        digits: Decimals for people; None for text.
        key: The override that it shows, where it shows one.
    """

    name: str
    title: str
    group: str = ""
    digits: int | None = None
    key: str | None = None


PSNR, SSIM, STLPIPS = (
    [Column(f"{row}_{key}", ROW_NAMES[row], title, digits) for row in RESTORATIONS]
    for key, (title, digits) in QUALITIES.items()
)
COST = [
    Column("total_evaluations_worth", "total (evaluations-worth)", "cost", 1),
    Column("nfe", "NFE", "cost", 0),
    Column("fit_seconds", "fit (s)", "cost", 2),
    Column("window_seconds", "window (s)", "cost", 2),
    Column("fit_gflop", "fit (GFLOP)", "cost", 1),
]
FIT = [
    Column("fit_key", "key", "fit"),
    Column("fit_epoch", "epoch", "fit", 0),
    Column("fit_jobs", "shared by", "fit", 0),
]
FIXED = [
    Column("job", "job"),
    Column("status", "status"),
    *PSNR,
    *COST,
    *SSIM,
    *STLPIPS,
    *FIT,
    Column("error", "error"),
]


def columns(swept: Sequence[str]) -> list[Column]:
    """Return the columns in their order: the job, what was swept, then the same ones for every study."""
    taken = {column.name for column in FIXED}
    short = short_names(swept)
    overrides = [Column(key if key not in taken else f"override.{key}", short[key], "swept", key=key) for key in swept]
    return [FIXED[0], *overrides, *FIXED[1:]]


def shown_columns(swept: Sequence[str], table: Sequence[Mapping[str, Value]]) -> list[Column]:
    """Return the columns of the page: ST-LPIPS only where a job has it, as its weights need not be installed."""
    known = any(row[c.name] is not None for row in table for c in STLPIPS)
    return [c for c in columns(swept) if known or c not in STLPIPS]


def rows(jobs: Sequence[Job], swept: Sequence[str]) -> list[dict[str, Value]]:
    """Return one row a job: the values by the names of `columns`."""
    sharing = Counter(job.fit_key for job in jobs if job.fit_key)
    shown = [(column.name, column.key) for column in columns(swept) if column.key is not None]
    return [
        {
            "job": job.name,
            **{name: job.overrides.get(key) for name, key in shown},
            "status": job.status,
            **{f"{row}_{key}": job.figure(row, key) for key in QUALITIES for row in RESTORATIONS},
            "total_evaluations_worth": job.figure("cost", "total_evaluations_worth"),
            "nfe": job.figure("result", "nfe"),
            "fit_seconds": _of_fit(job, "seconds"),
            "window_seconds": job.figure("result", "seconds"),
            "fit_gflop": _of_fit(job, "gflop"),
            "fit_key": job.fit_key,
            "fit_epoch": job.figure("fit", "epoch"),
            "fit_jobs": sharing[job.fit_key] if job.fit_key else None,
            "error": job.error,
        }
        for job in jobs
    ]


def _of_fit(job: Job, unit: str) -> Value:
    """Return the cost of the fit in seconds or GFLOP: 0 where the window started from none."""
    charged = job.figure("cost", f"fit_{unit}")
    return job.figure("fit", unit) if charged is None else charged


def in_words(value: Value, digits: int | None) -> str:
    """Return a value for people: rounded, and empty where there is none."""
    if value is None:
        return ""
    return str(value) if digits is None or isinstance(value, str) else f"{value:.{digits}f}"


def as_csv(study: Study) -> str:
    """Return summary.csv: every column, numbers in full."""
    names = [column.name for column in columns(study.swept)]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(study.jobs, study.swept))
    return text.getvalue()


def as_markdown(study: Study, cost: Cost) -> str:
    """Return summary.md: the columns in which any job has a value, numbers rounded; the fits and who shares them.

    The names of the jobs' folders, which say again what was swept, come last.
    """
    table = rows(study.jobs, study.swept)
    used = [c for c in columns(study.swept)[1:] if any(row[c.name] is not None for row in table)] + [FIXED[0]]
    grouped = {"fit", *(title for title, _ in QUALITIES.values())}
    heads = [_escaped(f"{c.group}: {c.title}" if c.group in grouped else c.title) for c in used]
    lines = [f"# Study {_escaped(study.title)}", ""]
    counts = ", ".join(f"{n} {status}" for status, n in study.counts.items() if n)
    lines += [f"{plural(len(study.jobs), 'job')}: {counts}"]
    lines += ["", commands(study)] if commands(study) else []
    lines += ["", "The same in all jobs: " + code(study.constant)] if study.constant else []
    lines += ["", cost_line(cost)] if cost.window_seconds or cost.fits else []
    lines += ["", against] if (against := against_no_dip(study)) else []
    lines += ["", _line(heads), _line(["---" if c.digits is None else "--:" for c in used])]
    lines += [_line([_escaped(in_words(row[c.name], c.digits)) for c in used]) for row in table]
    if cost.fits:
        lines += ["", "## Fits", "", _line(["fit", "seconds", "jobs", "names"]), _line(["---", "--:", "--:", "---"])]
        told = {job.name: name_of(study, [job]) for job in study.jobs}
        for fit in cost.fits:
            names = _escaped("; ".join(told[name] for name in fit.jobs))
            lines.append(_line([_escaped(fit.key), f"{fit.seconds:.2f}", str(len(fit.jobs)), names]))
    return "\n".join(lines) + "\n"


def code(overrides: Mapping[str, str]) -> str:
    """Return overrides as Markdown code, one piece each."""
    texts = [f"{key}={value}" for key, value in overrides.items()]
    fences = ["`" * (1 + max(map(len, re.findall("`+", text)), default=0)) for text in texts]
    return " ".join(f"{fence}{text}{fence}" for fence, text in zip(fences, texts, strict=True))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    """Keep Markdown and the HTML in it from reading a value as more than text."""
    return re.sub(r"([\\|`*<>\[\]])", r"\\\1", " ".join(text.split()))
