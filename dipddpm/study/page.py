"""The page of a study: one HTML file beside the jobs' folders. It needs no server, and works offline.

All texts of jobs pass the template's escaping, `Markup.format`, or plotly's JSON, which cannot close a script. All
links pass `quote`.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pandas as pd
import plotly.io
from jinja2 import Environment
from markupsafe import Markup
from plotly.graph_objects import Figure
from plotly.offline import get_plotlyjs

from dipddpm.study import charts
from dipddpm.study.columns import COLUMNS
from dipddpm.study.frame import constants, cost_of, output, output_name, psnr_of, swept, title
from dipddpm.study.heat import heat_maps
from dipddpm.study.labels import labels
from dipddpm.study.points import measured, pareto_front
from dipddpm.study.tables import for_people, numeric
from dipddpm.study.words import averaging, no_chart, summary


def render(frame: pd.DataFrame) -> str:
    """Return the page of a sweep as HTML."""
    figures = {"quality": charts.quality_against_cost(frame), "looks": charts.perception_against_distortion(frame)}
    maps = heat_maps(frame)
    figures |= {f"map{i}": charts.heat_map(means, frame) for i, means in enumerate(maps)}
    drawn = {name: _div(figure, name) for name, figure in figures.items() if figure is not None}
    template = Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["numeric"] = numeric
    return environment.from_string(template).render(
        title=title(frame),
        plotly=Markup(get_plotlyjs()) if drawn else "",
        swept=swept(frame),
        constants=constants(frame),
        sentences=summary(frame),
        no_chart=no_chart(frame),
        averaging=averaging(frame),
        output=output_name(frame),
        drawn=drawn,
        maps=[f"PSNR in dB by {means.index.name} and {means.columns.name}" for means in maps],
        front=_front(frame),
        pictures=_pictures(frame),
        jobs=_jobs(frame),
        falling=[column.title for name, column in COLUMNS.items() if name.endswith(("_psnr", "_ssim"))],
    )


def _div(figure: Figure, name: str) -> Markup:
    config = {"displaylogo": False, "responsive": True}
    return Markup(plotly.io.to_html(figure, config, include_plotlyjs=False, full_html=False, div_id=name))


def _front(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the points of the Pareto front as a table of texts."""
    front = pareto_front(measured(frame))
    cost, psnr = front["cost"].map("{:.1f}".format), front["psnr"].map("{:.2f}".format)
    return pd.DataFrame({"Pareto front": front["name"], COLUMNS[cost_of(frame)].title: cost, "PSNR (dB)": psnr})


def _jobs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table of jobs. The first column links to a job's folder, the last to its panel; the second marks the
    front.
    """
    table = for_people(frame)
    front = set(pareto_front(measured(frame))["jobs"].explode())
    folder = Markup('<a href="{}/" title="{}">{}</a>').format
    panel = Markup('<a href="{}/{}.png">{}</a>').format
    names = zip(frame["job"], labels(frame, swept(frame)), strict=True)
    links = [folder(quote(job), job, name) for job, name in names]
    table.insert(0, "job", pd.Series(links, table.index, dtype=object))  # with pyarrow other types lose the markup
    table.insert(1, "front", ["●" if index in front else "" for index in frame.index])
    shown = _having(frame, "panel", "sheet").items()
    links = [panel(quote(job), name, name) if name else "" for job, name in shown]
    table["panel"] = pd.Series(links, table.index, dtype=object)
    return table


def _having(frame: pd.DataFrame, *names: str) -> dict[str, str | None]:
    """Return for each job the first name whose picture is in the job's folder."""
    folder = Path(frame["study"].iloc[0])
    return {job: next((n for n in names if (folder / job / f"{n}.png").is_file()), None) for job in frame["job"]}


def _pictures(frame: pd.DataFrame) -> list[dict[str, str]]:
    """Return folder, picture and caption of each complete job's result; of its DIP output if no job ran a window.

    The picture of a job of many pictures is its contact sheet.
    """
    there, psnr = _having(frame, output(frame), "sheet"), frame[psnr_of(frame)].map(": {:.2f} dB".format)
    rows = zip(frame["job"], frame["status"], labels(frame, swept(frame)), psnr.fillna(""), strict=True)
    return [
        {"job": quote(job), "src": f"{quote(job)}/{there[job]}.png", "text": name + quality}
        for job, status, name, quality in rows
        if status == "complete" and there[job]
    ]
