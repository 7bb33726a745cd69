"""The charts of a study, as plotly figures: quality against cost, perception against distortion, heat maps.

The ``customdata`` of a point are the row numbers of its jobs in the table; the page's script uses them for a click on
the point. Plotly reads simple HTML tags in texts, so all texts of users are escaped.
"""

from __future__ import annotations

from html import escape

import pandas as pd
import plotly.graph_objects as go

from dipddpm.names import BASELINES
from dipddpm.study.columns import COLUMNS
from dipddpm.study.frame import cost_of, output, output_name, swept
from dipddpm.study.labels import as_text, natural, short, short_names
from dipddpm.study.points import baselines, measured, pareto_front, points, problems

MOST_COLOURS = 8  # most values of a swept key that get colours of their own
GREY, RED = "#8a93a3", "#d04545"  # visible on white and on black
LEGEND = {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0}  # below the title of the axis
MARKERS = {
    "dip": ("triangle-up-open", GREY, "DIP alone"),
    "posterior_mean": ("diamond-open", RED, "no DIP: one evaluation"),
    "noisy_window": ("square-open", RED, "no DIP: a window"),
}


def quality_against_cost(frame: pd.DataFrame) -> go.Figure | None:
    """Draw PSNR against cost, with the Pareto front and the starts without a DIP; None without a point."""
    found = measured(frame)
    if found.empty:
        return None
    figure = _chart(COLUMNS[cost_of(frame)].title, f"{_mean(frame)}PSNR of the {output_name(frame)} (dB)")
    figure.update_xaxes(type="log")
    _scatter(figure, frame, found, "cost", "psnr")
    front, line = pareto_front(found), {"shape": "hv", "color": GREY, "width": 1}
    title = f"Pareto front of the {output_name(frame)}s"
    figure.add_scatter(x=front["cost"], y=front["psnr"], mode="lines", line=line, name=title, hoverinfo="skip")
    for name, table in baselines(frame).items():
        _compare(figure, name, table["cost"], table["psnr"])
    return figure


def perception_against_distortion(frame: pd.DataFrame) -> go.Figure | None:
    """Draw ST-LPIPS against PSNR; None when no job has both.

    A sampled picture looks more like a clean one than an average of pictures does, but has the larger error: Blau and
    Michaeli, The Perception-Distortion Tradeoff, CVPR 2018, https://arxiv.org/abs/1711.06077.
    """
    row = output(frame)
    pairs = {name: [f"{name}_psnr", f"{name}_stlpips"] for name in (row, "dip", *BASELINES)}
    found = points(frame, pairs[row])
    if found.empty:
        return None
    figure = _chart(f"{_mean(frame)}PSNR (dB), higher is better", "ST-LPIPS, lower is better")
    figure.update_yaxes(rangemode="tozero")
    _scatter(figure, frame, found, *pairs[row])
    for name in [name for name in pairs if name != row]:
        places = points(frame, pairs[name])[pairs[name]].drop_duplicates()
        _compare(figure, name, *(places[column] for column in pairs[name]))
    return figure


def heat_map(means: pd.DataFrame, frame: pd.DataFrame) -> go.Figure:
    """Draw a table of `heat_maps`, with the values in the cells. A cell without a result is empty."""
    figure = _chart(str(means.columns.name), str(means.index.name))
    whole = [[escape(f"{row}, {column}") for column in means.columns] for row in means.index]
    hover = f"%{{text}}<br>{_mean(frame)}PSNR of the {output_name(frame)}: %{{z:.2f}} dB<extra></extra>"
    figure.add_heatmap(z=means.to_numpy(), text=whole, hovertemplate=hover, texttemplate="%{z:.2f}",
                       colorscale="Viridis", showscale=False, xgap=1, ygap=1)  # fmt: skip
    down, along = ([escape(short(value)) for value in values] for values in (means.index, means.columns))
    figure.update_xaxes(tickvals=list(range(len(along))), ticktext=along, showgrid=False)
    figure.update_yaxes(tickvals=list(range(len(down))), ticktext=down, showgrid=False, autorange="reversed")
    figure.update_layout(height=150 + 32 * len(down))
    return figure


def _chart(x: str, y: str) -> go.Figure:
    clear = "rgba(0,0,0,0)"
    figure = go.Figure(layout={"template": "none", "paper_bgcolor": clear, "plot_bgcolor": clear})
    figure.update_layout(margin={"l": 60, "r": 20, "t": 30, "b": 50}, legend=LEGEND)
    figure.update_xaxes(title=escape(x), automargin=True, zeroline=False)
    figure.update_yaxes(title=escape(y), automargin=True, zeroline=False)
    return figure


def _scatter(figure: go.Figure, frame: pd.DataFrame, found: pd.DataFrame, x: str, y: str) -> None:
    """Add points, coloured by the first swept key with 2 to `MOST_COLOURS` values. A cross is a start without a DIP."""
    over, varied = problems(frame), swept(frame)
    first = frame.loc[[jobs[0] for jobs in found["jobs"]]]
    groups = {output_name(frame): [True] * len(found)}
    for key in over.settings if over.averaged else varied:
        values = first[key].astype(object).map(as_text).to_numpy()
        if 1 < len(set(values)) <= MOST_COLOURS:
            name = short_names(varied)[key]
            groups = {f"{name}={value}": values == value for value in sorted(set(values), key=natural)}
            break
    for name, chosen in groups.items():
        part = found[chosen]
        figure.add_scatter(
            x=part[x],
            y=part[y],
            mode="markers",
            name=escape(short(name)),
            error_y=_bars(part),
            text=[escape(name) for name in part["name"]],
            customdata=[[frame.index.get_loc(job) for job in jobs] for jobs in part["jobs"]],
            marker={"size": 9, "symbol": ["circle" if dip else "x" for dip in part["dip"]]},
            hovertemplate="%{text}<br>%{x:.4~g}, %{y:.4~g}<extra></extra>",
        )


def _bars(part: pd.DataFrame) -> dict[str, object] | None:
    """Return the 95% intervals of points that are means over many pictures, as plotly's error bars; None without."""
    if "interval" not in part or part["interval"].isna().all():
        return None
    return {"type": "data", "array": part["interval"].fillna(0), "thickness": 1}


def _compare(figure: go.Figure, name: str, x: pd.Series, y: pd.Series) -> None:
    """Add the points of a row of metrics.json, such as the DIP output, for comparison with the results."""
    symbol, colour, title = MARKERS[name]
    marker = {"symbol": symbol, "size": 9, "color": colour}
    if len(x):
        figure.add_scatter(x=x, y=y, mode="markers", name=title, marker=marker, hovertemplate="%{x:.4~g}, %{y:.4~g}")


def _mean(frame: pd.DataFrame) -> str:
    return "mean " if problems(frame).averaged else ""
