"""What a study says of ST-LPIPS: a chart and columns where jobs have it."""

from itertools import product

import pytest
from study_jobs import fit_metrics, job, metrics, table

from dipddpm.study import build, read_study
from dipddpm.study.plots import perception_against_distortion


def seen(said, **stlpips):
    """Give rows of metrics.json an ST-LPIPS."""
    for row, value in stlpips.items():
        said[row]["stlpips"] = value
    return said


def offsets(figure):
    """Return the points of each name in the chart's legend."""
    (ax,) = figure.axes
    return {dots.get_label(): sorted(map(tuple, dots.get_offsets().tolist())) for dots in ax.collections}


def test_a_study_shows_psnr_and_st_lpips_in_one_chart(tmp_path):
    starts = {"dip": 0.4, "posterior_mean": 0.3, "noisy_window": 0.1}
    job(tmp_path, ["ddpm.start_t=25"], seen(metrics(27.0, nfe=25), result=0.2, **starts), pictures=True)
    job(tmp_path, ["ddpm.start_t=50"], seen(metrics(28.0, nfe=50), result=0.25, **starts), pictures=True)
    job(tmp_path, ["ddpm.start_t=100"], metrics(26.0, nfe=100), pictures=True)  # measured before it was installed
    assert offsets(perception_against_distortion(read_study(tmp_path))) == {
        "DIP, then DDPM: start_t=25": [(27.0, 0.2)],
        "DIP, then DDPM: start_t=50": [(28.0, 0.25)],
        "DIP alone": [(25.0, 0.4), (26.0, 0.4)],
        "no DIP: one evaluation": [(26.0, 0.3)],
        "no DIP: a window": [(26.5, 0.1)],
    }
    page = build(tmp_path).read_text()
    assert "<h2>How it looks" in page and (tmp_path / "summary" / "perception.png").stat().st_size > 10_000
    assert '<th colspan="5" class="edge">ST-LPIPS</th>' in page
    assert [row["result_stlpips"] for row in table(tmp_path)] == ["0.2", "0.25", ""]
    assert "ST-LPIPS: result" in (tmp_path / "summary.md").read_text()


def test_its_points_are_means_over_the_pictures_swept(tmp_path):
    for path, psnr, look in (("a.png", 24.0, 0.5), ("b.png", 30.0, 0.1)):
        said = seen(metrics(psnr, fit=path), result=look, dip=2 * look)
        job(tmp_path, [f"image.path={path}", "ddpm.start_t=50"], said)
    chart = offsets(perception_against_distortion(read_study(tmp_path)))
    assert chart["DIP, then DDPM"] == [pytest.approx((27.0, 0.3))]
    assert chart["DIP alone"] == [pytest.approx((25.0, 0.6))]


def test_fits_are_shown_as_what_they_are(tmp_path):
    job(tmp_path, ["dip.layers=4"], seen(fit_metrics(23.0), dip=0.4))
    assert offsets(perception_against_distortion(read_study(tmp_path))) == {"DIP output": [(23.0, 0.4)]}


def test_without_it_there_is_neither_chart_nor_column(tmp_path):
    job(tmp_path, ["ddpm.start_t=25"], metrics(27.0, nfe=25), pictures=True)
    assert perception_against_distortion(read_study(tmp_path)) is None
    page = build(tmp_path).read_text()
    assert "LPIPS" not in page and not (tmp_path / "summary" / "perception.png").exists()


def test_the_legend_tells_starts_without_a_dip_from_those_with_one(tmp_path):
    for checkpoint, seconds in (("stop", 8.0), ("none", 0.0)):
        job(tmp_path, [f"checkpoint={checkpoint}"], seen(metrics(27.0, fit_seconds=seconds), result=0.2))
    names = set(offsets(perception_against_distortion(read_study(tmp_path))))
    assert {"DIP, then DDPM: checkpoint=stop", "no DIP, then DDPM: checkpoint=none"} <= names
    for alpha, (checkpoint, seconds) in product((1, 2), (("stop", 8.0), ("none", 0.0))):
        typed = [f"alpha={alpha}", f"checkpoint={checkpoint}"]
        job(tmp_path / "both", typed, seen(metrics(27.0, fit_seconds=seconds), result=0.2))
    names = set(offsets(perception_against_distortion(read_study(tmp_path / "both"))))
    assert {"result: alpha=1", "result: alpha=2"} <= names, "each of both kinds"
