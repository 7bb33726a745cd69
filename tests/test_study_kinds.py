"""Sweeps of train_dip.py, folders of both commands, and jobs that typed fewer keys than others."""

import pytest
from study_jobs import fit_metrics, job, metrics, table

from dipddpm.study import __main__ as cli
from dipddpm.study import build, read_frame, read_study, sheet
from dipddpm.study.front import measured
from dipddpm.study.heat import heat_maps
from dipddpm.study.plots import caption, quality_against_cost

# a sweep of fits


@pytest.fixture
def fits(tmp_path):
    for layers, lr, psnr, seconds in [(4, 1, 23.0, 8.0), (4, 2, 24.0, 9.0), (6, 1, 25.0, 12.0), (6, 2, 22.0, 13.0)]:
        said = fit_metrics(psnr, fit=f"f{layers}{lr}", fit_seconds=seconds)
        folder = job(tmp_path, [f"dip.layers={layers}", f"dip.lr={lr}"], said, pictures=True)
        (folder / "result.png").unlink()
    return tmp_path


def test_a_sweep_of_fits_is_about_its_dip_outputs(fits):
    study = read_study(fits)
    assert (study.row, study.output) == ("dip", "DIP output")
    assert [(p.worth, p.psnr) for p in measured(study)] == [
        (800.0, 23.0),
        (900.0, 24.0),
        (1200.0, 25.0),
        (1300.0, 22.0),
    ]
    (heat,), _ = heat_maps(study)
    assert heat.means == ((23.0, 24.0), (25.0, 22.0))
    assert caption(heat) == "PSNR of the DIP output (dB)"
    chart = quality_against_cost(study).axes[0]
    assert (chart.get_xlabel(), chart.get_ylabel()) == ("cost of the fit, GFLOP", "PSNR of the DIP output (dB)")
    assert "result" not in " ".join(t.get_text() for t in chart.get_legend().get_texts())
    shown, _ = sheet.results(study)
    assert [s.text for s in shown][0] == "layers=4, lr=1: 23.00\u00a0dB"


def test_the_page_of_a_sweep_of_fits_shows_them(fits):
    text = build(fits).read_text()
    assert {p.name for p in (fits / "summary").iterdir()} == {
        "quality.png",
        "results.png",
        "heat-01-dip.layers-dip.lr.png",
    }
    for part in ("Best DIP output", "<h2>DIP outputs</h2>", "fit (GFLOP)", "25.00 dB"):
        assert part in text
    assert text.count("/dip.png") == 4 and "/result.png" not in text
    assert "evaluation of the DDPM network" not in text and "no chart" not in text
    assert text.count("<td>●</td>") == 3
    assert table(fits)[0]["fit_gflop"] == "800.0"
    assert "4 fits 42.00 s); 42.00 s" in (fits / "summary.md").read_text(), "there were no windows"


def test_a_folder_of_both_commands_says_so(fits, capsys):
    assert "This folder holds" not in build(fits).read_text()
    job(fits, ["dip.layers=8", "dip.lr=1"], metrics(26.0))
    assert read_study(fits).row == "result"
    line = "This folder holds 4 jobs of train_dip.py and 1 job of sample.py"
    assert line in build(fits).read_text()
    assert line in (fits / "summary.md").read_text()
    cli.main([str(fits)])
    assert capsys.readouterr().out.count(line) == 1


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (None, "No job is complete yet"),
        (metrics(None), "No job has a PSNR of its result, which needs a clean picture"),
        (fit_metrics() | {"dip": {"nfe": 0}}, "No job has a PSNR of its DIP output, which needs a clean picture"),
        (metrics(fit=None), "No job has a total cost, which a start from a file has not"),
    ],
)
def test_the_page_says_why_there_is_no_chart(said, why, tmp_path):
    job(tmp_path, ["a=1"], said)
    text = build(tmp_path).read_text()
    assert f"{why}, so there is no chart." in text
    assert "Pareto front</th>" not in text


# what a job did not type

CONFIG = """
dip: {layers: 4, lr: 1.0e-05, precision: fp32}
ddpm: {exact: false, steps: null, start_t: 25}
image: {size: 64, box: [1, 2]}
"""


def test_a_key_that_a_job_did_not_type_is_as_its_configuration_says(tmp_path):
    typed = ["dip.layers=6", "dip.lr=1e-5", "ddpm.exact=true", "ddpm.steps=10", "ddpm.start_t=25"]
    typed += ["dip=cnn", "image.box=null"]  # of which a configuration has no scalar
    job(tmp_path, typed, metrics(), config=CONFIG)
    job(tmp_path, [], metrics(), name="defaults", config=CONFIG)
    study = read_study(tmp_path)
    (default,) = [j for j in study.jobs if j.name == "defaults"]
    assert default.overrides == {
        "dip.layers": "4", "dip.lr": "1e-5", "ddpm.exact": "false", "ddpm.steps": "null", "ddpm.start_t": "25",
    }  # fmt: skip
    assert study.swept == ("ddpm.exact", "ddpm.steps", "dip", "dip.layers", "image.box"), "equal ones are not swept"
    assert study.constant == {"dip.lr": "1e-5", "ddpm.start_t": "25"}
    build(tmp_path)
    assert sorted(row["ddpm.exact"] for row in table(tmp_path)) == ["false", "true"]


@pytest.mark.parametrize("text", [None, "", "{", "[]", "dip: 3", "dip: {}", "\x00"])
def test_a_configuration_that_says_nothing_leaves_a_key_unset(text, tmp_path):
    job(tmp_path, ["dip.layers=6"], metrics(), config=CONFIG)
    job(tmp_path, [], metrics(), name="defaults", config=text)
    study = read_study(tmp_path)
    assert study.swept == ("dip.layers",)
    assert study.jobs[0].overrides == {}


def test_only_jobs_that_lack_a_key_have_their_configuration_read(tmp_path, monkeypatch):
    for value in "123":
        job(tmp_path, [f"dip.layers={value}"], metrics(), config=CONFIG)
    job(tmp_path, [], metrics(), name="defaults", config=CONFIG)
    read = []
    composed = read_study.__globals__["composed"]
    monkeypatch.setitem(
        read_study.__globals__, "composed", lambda folder, typed: (read.append(folder.name), composed(folder, typed))[1]
    )
    assert [j.overrides["dip.layers"] for j in read_study(tmp_path).jobs] == ["4", "1", "2", "3"]
    assert read == ["defaults"]


def test_a_frame_fills_what_one_sweep_typed_and_another_did_not(tmp_path):
    for start_t in (25, 50):
        job(tmp_path / "one", [f"ddpm.start_t={start_t}", "dip.layers=6"], metrics(), config=CONFIG)
        job(tmp_path / "two", [f"ddpm.start_t={start_t}"], metrics(), config=CONFIG)
    frame = read_frame(tmp_path / "one", tmp_path / "two")
    assert str(frame["dip.layers"].dtype) == "Int64"
    assert frame["dip.layers"].tolist() == [6, 6, 4, 4]
    assert frame["study"].tolist() == [str(tmp_path / "one")] * 2 + [str(tmp_path / "two")] * 2
    assert frame["ddpm.start_t"].tolist() == [25, 50, 25, 50]
