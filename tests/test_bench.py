"""The tables of the benches: each cell from the jobs that its row and column name."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from support.study_jobs import job, metrics

from bench.faces import jobs_in
from bench.figures import TABLE, quality_cost, renewed, summarised
from bench.operators import DIPS, LEVELS, table

FACES = ("a.png", "b.png")
PROBLEMS = {"operator.missing=0.5": 10.0, "operator.file=hole.png": 20.0}
CONFIG = (
    "operator: {kind: mask, missing: 0.5, file: %s}\ndip: {network: cnn}\n"  # of the group, which a typed mask leaves
)


def test_a_drawn_mask_is_not_taken_for_the_share_that_its_group_has(tmp_path):
    windows = [[f"ddpm.start_t={t}", *[f"dip={dip}"] * (dip != "cnn")] for dip, t in product(DIPS, LEVELS)]
    windows += [["ddpm.init=noise", "ddpm.start_t=1000", f"ddpm.steps={n}"] for n in (10, 100)]
    for (operator, psnr), face, window in product(PROBLEMS.items(), FACES, windows):
        typed = [f"image.path={face}", "experiment=inpaint", operator, *window]
        said = metrics(psnr + FACES.index(face), overrides=typed)
        for row in ("noisy", "dip", "result", "noisy_window"):
            said[row] |= {"psnr": said["result"]["psnr"], "stlpips": 0.1}
        mask = operator.partition("file=")[2] or "null"
        for reverse in (False, True):  # whichever of the two a folder's order has last
            name = f"{operator[::-1] if reverse else operator}-{len(list((tmp_path / str(reverse)).glob('*')))}"
            job(tmp_path / str(reverse), typed, said, name=name.replace("/", "_"), config=CONFIG % mask)
    for reverse in (False, True):
        lines = table(jobs_in(tmp_path / str(reverse)), FACES, list(PROBLEMS))
        assert lines[0] == "| completed, no network | 10.50 | 0.100 | 20.50 | 0.100 | 0 |"
        assert (
            sum(line.startswith("| DIP (skip), from 50 in 10 steps | 10.50 | 0.100 | 20.50 |") for line in lines) == 1
        )


def test_the_table_of_quality_and_cost_is_the_mean_of_settings_that_all_pictures_have(tmp_path):
    typed = {"direct": ["dip=skip", "checkpoint=none"], "skip": ["dip=skip", "checkpoint=stop"]}
    for start, face in product(typed, FACES):
        if (start, face) == ("skip", "b.png"):
            continue  # not done yet
        overrides = [*typed[start], f"image.path={face}", "ddpm.start_t=50", "ddpm.scheduler=ddim"]
        job(tmp_path, overrides, metrics(20.0 + 2 * FACES.index(face), overrides=overrides), name=f"{start}-{face}")
    new = summarised(tmp_path)
    assert list(zip(new["start"], new["start_t"], new["psnr"], strict=True)) == [("direct", 50, 21.0)]
    old = pd.DataFrame([{**new.iloc[0], "psnr": 1.0}, {**new.iloc[0], "start": "skip", "psnr": 2.0}])
    assert renewed(old, new)["psnr"].to_list() == [21.0, 2.0], "a sweep replaces a row, and keeps what it lacks"


def test_the_stored_table_is_drawn_and_bears_the_title_of_its_chart():
    table = pd.read_csv(TABLE)
    direct = table[table["start"] == "direct"].sort_values("psnr").iloc[-1]
    others = table[table["start"] != "direct"]
    (ax,) = quality_cost(table).axes
    assert "without a DIP are better and cheaper" in ax.get_title()
    assert direct["psnr"] > others["psnr"].max() and direct["evaluations_worth"] < others["evaluations_worth"].min()
    drawn = {float(x) for line in ax.lines for x in np.asarray(line.get_xdata())}
    assert drawn >= set(table["evaluations_worth"]) and pytest.approx(direct["evaluations_worth"]) == min(drawn)
