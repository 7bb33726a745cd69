"""Building a summary: the same bytes each time, from many processes at once, from the shell and in a real sweep."""

import functools
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time

import pytest
from filelock import FileLock
from support import ROOT
from support.study_jobs import by_override, job, metrics, table

from dipddpm.errors import UserError
from dipddpm.study import __main__ as cli
from dipddpm.study import build, read_frame, summary, tables
from dipddpm.study.frame import swept
from dipddpm.study.words import summary as sentences

FILES = ("index.html", "summary.csv", "summary.md")


def contents(folder):
    """Return every file of a summary but the record of how long it took."""
    return {name: (folder / name).read_bytes() for name in FILES}


def test_a_rebuild_is_byte_identical_whatever_order_the_disk_gives(mixed, tmp_path):
    build(mixed)
    first = contents(mixed)
    build(mixed)
    assert contents(mixed) == first
    again = tmp_path / "again" / mixed.name
    for folder in sorted((p for p in mixed.iterdir() if (p / ".hydra").is_dir()), reverse=True):
        shutil.copytree(folder, again / folder.name)
    build(again)
    parents = mixed.parent.name, again.parent.name  # the titles have them, in Markdown with a backslash before _
    mine, other = ([name.encode(), name.replace("_", r"\_").encode()] for name in parents)
    for here, there in zip(mine, other, strict=True):
        first = {name: data.replace(here + b"/", there + b"/") for name, data in first.items()}
    assert contents(again) == first


@pytest.mark.parametrize("overrides", [[], ["dip.layers=4"]])
def test_one_job_alone_is_a_study(overrides, tmp_path):
    job(tmp_path, overrides, metrics(), pictures=True)
    assert "Nothing was swept" in build(tmp_path).read_text()


def test_a_build_deletes_its_own_half_written_files_alone(mixed):
    (mixed / "summary").mkdir()
    theirs = [".index.html.swp", ".summary.csv.tmp", "notes.tmp", ".other.12-abcdef01.tmp", "summary/quality.png"]
    ours = [f".{name}.12-abcdef01.tmp" for name in (*FILES, ".study.json")]
    for name in (*theirs, *ours):
        (mixed / name).write_text("x")
    build(mixed)
    assert [name for name in theirs if not (mixed / name).exists()] == []
    assert [name for name in ours if (mixed / name).exists()] == []


def spawn(*arguments):
    given = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(given, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_builds_at_once_leave_the_summary_of_one(mixed):
    together = [spawn("-m", "dipddpm.study", mixed) for _ in range(3)]
    texts = [p.communicate(timeout=120) for p in together]
    assert [p.returncode for p in together] == [0, 0, 0], texts
    found = contents(mixed)
    build(mixed)
    assert contents(mixed) == found


def test_a_build_that_cannot_wait_is_left_to_the_one_at_work(mixed, caplog):
    caplog.set_level(logging.INFO)
    with FileLock(mixed / ".study.lock"):
        begun = time.monotonic()
        assert build(mixed, wait=0.2) == mixed / "index.html"
        assert time.monotonic() - begun < 10
        assert not (mixed / "index.html").exists()
        assert "another process is summarising" in caplog.text
    build(mixed)
    assert (mixed / "index.html").exists()


def test_a_failed_build_leaves_the_older_summary(mixed, monkeypatch):
    build(mixed)
    before = contents(mixed)

    def fail(frame):
        raise OSError("the disk is full")

    monkeypatch.setattr(tables, "as_markdown", fail)
    with pytest.raises(OSError, match="the disk is full"):
        build(mixed)
    assert contents(mixed) == before


def test_a_big_sweep_is_not_rebuilt_after_every_job(mixed):
    record = mixed / ".study.json"
    assert summary.is_due(mixed)
    build(mixed)
    assert json.loads(record.read_text())["seconds"] > 0
    record.write_text('{"seconds": 10}')
    now = time.time()
    for age, due in [(0, False), (190, False), (210, True), (-50, True)]:  # twenty times ten seconds; a clock set back
        os.utime(record, (now - age, now - age))
        assert summary.is_due(mixed) is due
    for text in ("", "{}", '{"seconds": null}', '{"seconds": "x"}', "[]"):
        record.write_text(text)
        assert summary.is_due(mixed)


def test_a_refused_folder_is_left_as_it_was(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no jobs"):
        build(tmp_path / "empty")
    assert not list((tmp_path / "empty").iterdir())
    with pytest.raises(UserError, match="is not a folder"):
        read_frame(tmp_path / "missing")


def test_a_study_needs_no_torch_and_jobs_import_no_pandas(mixed):
    script = (
        "import sys; from dipddpm.study import build, callback; print('pandas' in sys.modules); build(sys.argv[1]); "
    )
    script += "print(sorted({'torch', 'diffusers', 'pytorch_lightning', 'matplotlib'} & set(sys.modules)))"
    said, errors = spawn("-c", script, mixed).communicate(timeout=120)
    assert said.split() == ["False", "[]"], errors


# the command


def test_the_command_prints_the_table_and_the_page(mixed, capsys):
    job(mixed, ["dip.layers=[1,2]", "dip.lr=[/x]", "seed=1"], error="[bold]no")
    assert cli.main([str(mixed)]) == 0
    text = capsys.readouterr().out
    assert text.strip().endswith(str(mixed.resolve() / "index.html"))
    for part in (
        "[1,2]",
        "[/x]",
        "[bold]no",
        "25.50",
        "2 unfinished",
        "the fit diverged",
        "with each fit counted once",
    ):
        assert part in text


def test_the_command_shows_both_starts_without_a_dip_and_a_part_of_a_long_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "MOST", 1)
    for value in "12":
        job(tmp_path, [f"a={value}"], metrics(fit="aa"))
    assert cli.main([str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "26.00" in text and "26.50" in text, "one evaluation, and a window"
    assert re.search(r"^ *1 +complete", text, re.M) and not re.search(r"^ *2 +complete", text, re.M)
    assert "The table shows 1 of 2 jobs; all are in summary.csv." in text
    assert "1 fit 8.00 s" in text and "1 fit 8.00 s" in (tmp_path / "summary.md").read_text()


def test_the_command_refuses_a_folder_that_is_no_sweep_in_one_line(mixed, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    inside = next(p for p in mixed.iterdir() if (p / ".hydra").is_dir())
    for folder, part in [
        (tmp_path / "missing", "is not a folder: give the folder of a sweep"),
        (tmp_path / "empty", "holds no jobs"),
        (inside, f"did you mean {mixed}?"),
        (tmp_path, f"did you mean {mixed}?"),
    ]:
        assert cli.main([str(folder)]) == 2
        said = capsys.readouterr()
        assert part in said.err
        assert len(said.err.strip().splitlines()) == 1
        assert not said.out
    assert cli.main([str(tmp_path / "missing"), str(mixed)]) == 2
    assert "index.html" in capsys.readouterr().out, "the others are built all the same"


# a real sweep


def test_a_real_sweep_with_a_failing_job_ends_in_a_study(tiny_prior, tmp_path):
    typed = ["-m", f"prior.path={tiny_prior}", "dip.layers=1", "dip.channels=8", "dip.max_epochs=20", "stopping=never",
             "ddpm.start_t=10,20", "dip.lr=0.001,1e9", "hydra.sweep.dir=sweep", "store=fits"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, ROOT / "sample.py", *typed], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode != 0
    folder = tmp_path / "sweep"
    assert (folder / "index.html").exists(), done.stdout + done.stderr
    frame = read_frame(folder)
    assert swept(frame) == ["ddpm.start_t", "dip.lr"]
    assert frame["status"].tolist() == ["complete", "complete", "failed", "failed"]
    row = by_override(folder, ddpm__start_t="20", dip__lr="0.001")
    said = json.loads((folder / row["job"] / "metrics.json").read_text())
    for name, path in {
        "noisy_psnr": ("noisy", "psnr"), "dip_ssim": ("dip", "ssim"), "result_psnr": ("result", "psnr"),
        "posterior_mean_psnr": ("posterior_mean", "psnr"), "noisy_window_ssim": ("noisy_window", "ssim"),
        "nfe": ("result", "nfe"), "fit_seconds": ("fit", "seconds"), "window_seconds": ("result", "seconds"),
        "total_evaluations_worth": ("cost", "total_evaluations_worth"), "fit_key": ("fit", "key"),
        "fit_evaluations_worth": ("cost", "fit_evaluations_worth"), "command": ("command",),
    }.items():  # fmt: skip
        assert row[name] == str(functools.reduce(dict.__getitem__, path, said))
    assert row["nfe"] == "20" and row["fit_jobs"] == "2" and len(table(folder)) == 4
    assert frame["problem"].dropna().nunique() == 1
    assert any("1 fit " in sentence for sentence in sentences(frame))
    before = contents(folder)
    again = subprocess.run(
        [sys.executable, "-m", "dipddpm.study", "sweep"], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert contents(folder) == before
