"""The charts of a study: what stands where, and what hovering and clicking tell."""

from typing import Any

import pytest
from support.study_jobs import fit_metrics, job, metrics

from dipddpm.study import read_frame
from dipddpm.study.charts import heat_map, perception_against_distortion, quality_against_cost
from dipddpm.study.heat import heat_maps


def seen(said, **stlpips):
    """Give rows of metrics.json an ST-LPIPS."""
    for row, value in stlpips.items():
        said[row]["stlpips"] = value
    return said


def traces(figure):
    """Return the points of a chart by the names of its legend."""
    return {trace.name: sorted(zip(trace.x, trace.y, strict=True)) for trace in figure.data}


def test_the_chart_has_the_points_the_front_and_the_starts_without_a_dip(tmp_path):
    for start_t, psnr in ((50, 25.0), (100, 24.0)):
        job(tmp_path, [f"ddpm.start_t={start_t}"], metrics(psnr, nfe=start_t))
    job(tmp_path, ["ddpm.start_t=200"], metrics(27.0, nfe=200, fit_seconds=0.0))
    figure: Any = quality_against_cost(read_frame(tmp_path))  # plotly makes the attributes of a figure when asked
    assert traces(figure) == {
        "start_t=50": [(130.0, 25.0)],
        "start_t=100": [(180.0, 24.0)],
        "start_t=200": [(200.0, 27.0)],
        "Pareto front of the results": [(130.0, 25.0), (200.0, 27.0)],
        "no DIP: one evaluation": [(1.0, 26.0)],
        "no DIP: a window": [(57.0, 26.5)],
    }
    points = {trace.name: trace for trace in figure.data}
    assert points["start_t=50"].text == ("start_t=50",), "what hovering tells"
    assert points["start_t=200"].customdata == ([2],), "the row of the job in the table"
    assert [points[name].marker.symbol for name in ("start_t=50", "start_t=200")] == [("circle",), ("x",)]
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.yaxis.title.text == "PSNR of the result (dB)"


def test_a_mean_leads_to_all_its_jobs(tmp_path):
    for path, psnr in (("a.png", 24.0), ("b.png", 30.0)):
        job(tmp_path, [f"image.path={path}", "dip.layers=4"], metrics(psnr))
    figure: Any = quality_against_cost(read_frame(tmp_path))
    assert figure.data[0].customdata == ([0, 1],)
    assert figure.layout.yaxis.title.text == "mean PSNR of the result (dB)"


def test_a_sweep_of_fits_is_about_its_dip_outputs(tmp_path):
    for layers, psnr, seconds in [(4, 23.0, 8.0), (6, 25.0, 12.0)]:
        job(tmp_path, [f"dip.layers={layers}", "dip.lr=1"], fit_metrics(psnr, fit_seconds=seconds))
    figure: Any = quality_against_cost(read_frame(tmp_path))
    assert traces(figure) == {
        "layers=4": [(800.0, 23.0)],
        "layers=6": [(1200.0, 25.0)],
        "Pareto front of the DIP outputs": [(800.0, 23.0), (1200.0, 25.0)],
    }
    assert figure.layout.xaxis.title.text == "fit (GFLOP)"
    assert figure.layout.yaxis.title.text == "PSNR of the DIP output (dB)"


@pytest.mark.parametrize("many", [2, 9])
def test_colours_are_of_the_first_key_that_a_legend_can_show(many, tmp_path):
    for i in range(many):
        job(tmp_path, [f"a={i}", f"b={i % 2}"], metrics(20.0 + i))
    figure: Any = quality_against_cost(read_frame(tmp_path))
    names = [trace.name for trace in figure.data][:2]
    assert names == (["a=0", "a=1"] if many == 2 else ["b=0", "b=1"])


def test_texts_of_users_are_no_tags_of_plotlys(tmp_path):
    for value in ("<b>x</b>", "<a href='javascript:alert(1)'>"):
        job(tmp_path, [f"image.name={value}", f"<i>k{value}=1"], metrics())
        job(tmp_path, [f"dip={value}", f"<i>k{value}=2"], metrics())
    frame = read_frame(tmp_path)
    texts = "".join(figure.to_json() for figure in [quality_against_cost(frame), *map_figures(frame)])
    assert "\\u003cb\\u003e" not in texts and "<b>" not in texts and "<i>" not in texts and "<a href" not in texts
    assert "&lt;b&gt;" in texts


def map_figures(frame):
    return [heat_map(means, frame) for means in heat_maps(frame)]


def test_a_heat_map_shows_each_value_at_its_place(tmp_path):
    for layers, lr, psnr in [("4", "0.1", 20.0), ("10", "0.1", 21.0), ("4", "1", 22.0)]:
        job(tmp_path, [f"dip.layers={layers}", f"dip.lr={lr}"], metrics(psnr))
    figure: Any
    (figure,) = map_figures(read_frame(tmp_path))
    assert figure.layout.yaxis.ticktext == ("4", "10") and figure.layout.xaxis.ticktext == ("0.1", "1")
    (drawn,) = figure.data
    assert drawn.z[0].tolist() == [20.0, 22.0] and drawn.z[1][0] == 21.0 and drawn.z[1][1] != drawn.z[1][1]
    assert drawn.text[1] == ["10, 0.1", "10, 1"]


# PSNR and ST-LPIPS


def test_a_study_shows_psnr_and_st_lpips_in_one_chart(tmp_path):
    starts = {"dip": 0.4, "posterior_mean": 0.3, "noisy_window": 0.1}
    job(tmp_path, ["ddpm.start_t=25"], seen(metrics(27.0, nfe=25), result=0.2, **starts))
    job(tmp_path, ["ddpm.start_t=50"], seen(metrics(28.0, nfe=50), result=0.25, **starts))
    job(tmp_path, ["ddpm.start_t=100"], metrics(26.0, nfe=100))  # measured before it was installed
    assert traces(perception_against_distortion(read_frame(tmp_path))) == {
        "start_t=25": [(27.0, 0.2)],
        "start_t=50": [(28.0, 0.25)],
        "DIP alone": [(25.0, 0.4), (26.0, 0.4)],
        "no DIP: one evaluation": [(26.0, 0.3)],
        "no DIP: a window": [(26.5, 0.1)],
    }


def test_its_points_are_means_over_the_pictures_swept(tmp_path):
    for path, psnr, look in (("a.png", 24.0, 0.5), ("b.png", 30.0, 0.1)):
        said = seen(metrics(psnr, fit=path), result=look, dip=2 * look)
        job(tmp_path, [f"image.path={path}", "ddpm.start_t=50"], said)
    chart = traces(perception_against_distortion(read_frame(tmp_path)))
    assert chart["result"] == [pytest.approx((27.0, 0.3))]
    assert chart["DIP alone"] == [pytest.approx((25.0, 0.6))]


def test_without_st_lpips_there_is_no_such_chart(tmp_path):
    job(tmp_path, ["ddpm.start_t=25"], metrics(27.0, nfe=25))
    assert perception_against_distortion(read_frame(tmp_path)) is None
