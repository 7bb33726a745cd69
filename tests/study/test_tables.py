"""The table of a study as summary.csv and summary.md."""

import re

import pytest
from support.study_jobs import by_override, fit_metrics, job, metrics, table

from dipddpm.study import build, read_frame


def test_every_figure_has_its_column_and_a_figure_that_is_not_known_is_empty(mixed):
    build(mixed)
    row = by_override(mixed, dip__layers="4", dip__lr="0.01")
    expected = {
        "status": "complete", "noisy_psnr": "20.0", "noisy_ssim": "0.2", "dip_psnr": "23.5", "dip_ssim": "0.235",
        "result_psnr": "25.5", "result_ssim": "0.255", "posterior_mean_psnr": "26.0", "posterior_mean_ssim": "0.26",
        "noisy_window_psnr": "26.5", "noisy_window_ssim": "0.265", "nfe": "50", "fit_seconds": "8.0",
        "window_seconds": "5.0", "total_evaluations_worth": "130.0", "fit_key": "aa", "fit_epoch": "100",
        "fit_jobs": "2", "fit_gflop": "800.0", "error": "", "seed": "1",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert list(row)[:5] == ["job", "dip.layers", "dip.lr", "seed", "status"]
    order = ["noisy_window_psnr", "total_evaluations_worth", "noisy_ssim", "fit_key", "error"]
    assert sorted(order, key=list(row).index) == order, "the cost is seen before SSIM"
    unclean = by_override(mixed, dip__layers="14")
    assert unclean["nfe"] == "50" and unclean["total_evaluations_worth"] == "", "the start came from a file"
    assert {unclean[n] for n in unclean if n.endswith(("psnr", "ssim")) or n.startswith("fit")} == {""}
    failed = by_override(mixed, dip__layers="10", dip__lr="0.01")
    assert failed.pop("error") == "the fit diverged: try a smaller dip.lr"
    assert {n for n, value in failed.items() if value} == {"job", "dip.layers", "dip.lr", "seed", "status"}


def test_the_markdown_says_the_same_in_as_many_cells_everywhere(mixed):
    job(mixed, ["dip.layers=a|b", "dip.lr=`x`", "seed=1"], error="<b>x</b> | [y](z) *w*")
    build(mixed)
    text = (mixed / "summary.md").read_text()
    assert "7 jobs: 3 complete, 2 failed, 2 unfinished." in text
    assert "Settings of all jobs: seed=1" in text
    assert "26.50" in text and "1 job failed: the fit diverged" in text
    assert r"a\|b" in text and r"\<b\>x\</b\> \| \[y\](z) \*w\*" in text
    cells = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert len(cells) == 1
    assert "| result PSNR (dB) |" in text and "| jobs of this fit |" in text
    assert "ST-LPIPS" not in text, "no job has it"


@pytest.mark.parametrize("text", ["`<img src=x>`", "a\n\n# b", "<script>", "&lt;i&gt;", "[x](javascript:y)", "~~a~~"])
def test_no_value_is_markup_in_the_markdown(text, tmp_path):
    for layers in "12":
        job(tmp_path, [f"image.path={text}", f"a={layers}"], error=text)
    build(tmp_path)
    markdown = (tmp_path / "summary.md").read_text()
    assert not re.search(r"(?<!\\)[<`&\[~]", markdown)
    assert len([line for line in markdown.splitlines() if line.startswith("#")]) == 1


VALUES = ["[1,2]", "a,b", 'say "x"', "1;2", "a=b/c", "it's", "ünï", "two\nlines", "$x_{$", "日本", "-2", "+1e3"]
FORMULAS = ["=1+1", " =1+1", "＝1+1", "-1_0", "=cmd|'/C calc'!A0", "+1+1", "-1-1", "@SUM(1)", "\t=1"]


def test_awkward_values_come_back_from_the_csv_and_are_no_formulas(tmp_path):
    for i, value in enumerate([*VALUES, *FORMULAS]):
        job(tmp_path, [f"image.path={value}", f"b={i}"], error=value)
    build(tmp_path)
    rows = table(tmp_path)
    assert sorted(row["image.path"] for row in rows) == sorted([*VALUES, *(f"'{text}" for text in FORMULAS)])
    assert {row["error"] for row in rows if row["error"].startswith("'")} == {f"'{t.strip()}" for t in FORMULAS}
    assert set(read_frame(tmp_path)["image.path"]) == {*VALUES, *FORMULAS}, "the frame has them as typed"


def test_a_folder_of_both_commands_says_so(tmp_path):
    for lr in "12":
        job(tmp_path, ["dip.layers=8", f"dip.lr={lr}"], fit_metrics())
    build(tmp_path)
    assert "This folder holds" not in (tmp_path / "summary.md").read_text()
    job(tmp_path, ["dip.layers=8", "dip.lr=3"], metrics(26.0))
    build(tmp_path)
    line = "This folder holds 2 jobs of train_dip.py and 1 job of sample.py"
    assert line in (tmp_path / "summary.md").read_text().replace("\\", "")
    assert line in (tmp_path / "index.html").read_text()


def test_a_sweep_in_which_every_job_has_st_lpips_shows_it(tmp_path):
    said = metrics()
    said["result"]["stlpips"] = 0.25
    job(tmp_path, ["a=1"], said)
    build(tmp_path)
    assert table(tmp_path)[0]["result_stlpips"] == "0.25"
    assert "result ST-LPIPS" in (tmp_path / "summary.md").read_text()
