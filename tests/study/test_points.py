"""Points of quality against cost: Pareto fronts, starts without a DIP, and means over the problems that were swept."""

import itertools
import random

import pandas as pd
import pytest
from support.study_jobs import job, metrics

from dipddpm.study import read_frame
from dipddpm.study.points import baselines, best, measured, pareto_front, problems
from dipddpm.study.words import averaging, summary

EASE = {"easy.png": 5.0, "hard.png": -5.0}


def restored(folder, path, layers, psnr, nfe=50, **more):
    """Write a job of a picture; the starts without a DIP profit from an easy one as it does."""
    ease = EASE[path]
    starts = {"posterior_mean": {"psnr": 26 + ease, "nfe": 1}, "noisy_window": {"psnr": 26.5 + ease, "nfe": 57 + ease}}
    return job(folder, [f"image.path={path}", f"dip.layers={layers}"], metrics(psnr + ease, nfe=nfe, **starts), **more)


def places(table, *names):
    """Return rows of a table of points as tuples."""
    return list(table[list(names)].itertuples(index=False, name=None))


@pytest.fixture
def sweep(tmp_path):
    """Four layers restore best on average, six the easy picture."""
    for layers, psnrs, nfe in [(4, (23.0, 27.0), 50), (6, (25.0, 22.0), 50), (8, (24.0, 24.0), 100)]:
        for path, psnr in zip(EASE, psnrs, strict=True):
            restored(tmp_path, path, layers, psnr, nfe)
    return tmp_path


@pytest.mark.parametrize("seed", range(30))
def test_the_pareto_front_is_what_nothing_dominates(seed):
    draw = random.Random(seed)
    found = [(draw.randint(1, 8), draw.randint(1, 8)) for _ in range(draw.randint(0, 25))]

    def dominated(p):
        return any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in found)

    table = pd.DataFrame(found, columns=["cost", "psnr"], dtype=float).assign(number=range(len(found)))
    front = pareto_front(table)
    assert sorted(front["number"]) == [i for i, p in enumerate(found) if not dominated(p)]
    assert front["cost"].is_monotonic_increasing


def the_best(frame):
    found = best(frame)
    assert found is not None, "no job has a PSNR"
    return found


def test_only_jobs_with_both_figures_are_points_and_baselines_stand_at_their_own_nfe(tmp_path):
    job(tmp_path, ["a=1"], metrics(25.5))
    job(tmp_path, ["a=2"], metrics(29.0, fit=None))  # from a file: no total
    job(tmp_path, ["a=3"], metrics(None))
    job(tmp_path, ["a=4"], error="no")
    frame = read_frame(tmp_path)
    assert places(measured(frame), "name", "cost", "psnr") == [("a=1", 130.0, 25.5)]
    assert the_best(frame)["name"] == "a=2"
    each = baselines(frame)
    assert places(each["posterior_mean"], "cost", "psnr") == [(1, 26.0)]
    assert places(each["noisy_window"], "cost", "psnr") == [(57, 26.5)]


# starts without a DIP


BEST = "Best without a DIP, baselines included: "


def against(folder):
    """Return the sentence that holds the front of the DIP starts against those without."""
    return next((s for s in summary(read_frame(folder)) if "Pareto front" in s), "")


def starts(folder, *jobs):
    """Write jobs (checkpoint, PSNR, seconds of the fit) without baselines."""
    for checkpoint, psnr, seconds in jobs:
        said = metrics(psnr, nfe=10, fit_seconds=seconds)
        del said["posterior_mean"], said["noisy_window"]
        job(folder, [f"checkpoint={checkpoint}"], said)
    return folder


def test_the_front_is_held_against_the_starts_without_a_dip(tmp_path):
    assert against(starts(tmp_path / "alone", ("none", 25.0, 0.0))) == "", "nothing starts from a DIP"
    folder = tmp_path / "sweep"
    for start_t, psnr in ((10, 26.2), (50, 25.0), (60, 26.8)):  # without a DIP: 26.0 for 1, 26.5 for 57 evaluations
        job(folder, [f"ddpm.start_t={start_t}"], metrics(psnr, nfe=start_t, fit_seconds=0.4))
    said = against(folder)
    assert "2 points" in said and "For 0 of them" in said, "at 14 and 64 evaluations-worth"
    job(folder, ["ddpm.start_t=20"], metrics(26.4, nfe=20, fit_seconds=4.0))  # at 60
    assert "3 points" in against(folder) and "For 1 of them" in against(folder)
    job(folder, ["checkpoint=none"], metrics(26.3, nfe=5, fit_seconds=0.0))
    assert "3 points" in against(folder) and "For 2 of them" in against(folder), "also 26.2 dB at 14"


@pytest.mark.parametrize(("psnr", "reached"), [(24.0, 0), (25.0, 1)])
def test_a_start_without_a_dip_may_be_a_job_where_the_baselines_were_left_out(tmp_path, psnr, reached):
    said = against(starts(tmp_path, ("stop", 25.0, 1.0), ("none", psnr, 0.0)))
    assert "1 point " in said and f"For {reached} of them" in said


def test_the_best_without_a_dip_may_be_a_job(tmp_path):
    job(tmp_path, ["checkpoint=stop"], metrics(27.0))
    assert f"{BEST}26.50 dB with 57 evaluations and no fit." in summary(read_frame(tmp_path))
    job(tmp_path, ["checkpoint=none"], metrics(28.0, nfe=10, fit_seconds=0.0))
    assert f"{BEST}28.00 dB with 10 evaluations and no fit." in summary(read_frame(tmp_path))


# means over problems


def test_points_front_and_best_are_means_over_the_problems(sweep):
    frame = read_frame(sweep)
    found = measured(frame)
    assert places(found, "name", "cost", "psnr") == [
        ("layers=4", 130.0, 25.0), ("layers=6", 130.0, 23.5), ("layers=8", 180.0, 24.0),
    ]  # fmt: skip
    assert pareto_front(found)["name"].tolist() == ["layers=4"]
    assert set(frame.loc[found["jobs"][0], "image.path"]) == set(EASE)
    assert the_best(frame)[["name", "psnr"]].tolist() == ["layers=4", 25.0]
    assert places(baselines(frame)["posterior_mean"], "cost", "psnr") == [(1, 26.0)]
    assert averaging(frame) == "Each point is the mean over 2 problems: image.path."
    assert "Best result of a job: 25.00 dB (layers=4), mean over 2 problems: image.path." in summary(frame)
    assert f"{BEST}26.50 dB with 57 evaluations and no fit." in summary(frame)


def test_a_setting_that_lacks_a_problem_is_no_point(sweep):
    restored(sweep, "easy.png", 10, 30.0)
    job(sweep, ["image.path=hard.png", "dip.layers=10"], error="no")
    job(sweep, ["image.path=unclean.png", "dip.layers=4"], metrics(None))  # a problem without figures is none
    job(sweep, ["image.path=third.png", "dip.layers=4"], metrics(40.0, fit=None))  # nor is one without a total cost
    frame = read_frame(sweep)
    assert measured(frame)["name"].tolist() == ["layers=4", "layers=6", "layers=8"]
    assert the_best(frame)["psnr"] == 25.0
    assert places(baselines(frame)["posterior_mean"], "cost", "psnr") == [(1, 26.0)]


def test_a_young_sweep_falls_back_to_single_jobs_and_says_so(tmp_path):
    restored(tmp_path, "easy.png", 4, 23.0)
    restored(tmp_path, "easy.png", 6, 25.0)
    job(tmp_path, ["image.path=hard.png", "dip.layers=4"])
    assert measured(read_frame(tmp_path))["psnr"].tolist() == [28.0, 30.0]
    restored(tmp_path, "hard.png", 8, 30.0)
    frame = read_frame(tmp_path)
    assert sorted(measured(frame)["psnr"]) == [25.0, 28.0, 30.0]
    assert "no setting has figures for all problems yet" in averaging(frame)
    assert "mean over" not in " ".join(summary(frame))


def test_problems_are_pictures_degradations_and_seeds_together(tmp_path):
    for i, (sigma, seed, start_t) in enumerate(itertools.product((15, 50), (0, 1), (25, 50))):
        overrides = [f"noise.sigma={sigma}", f"seed={seed}", f"ddpm.start_t={start_t}", f"ddpm.seed={start_t}"]
        job(tmp_path, overrides, metrics(20.0 + i, nfe=start_t))
    frame = read_frame(tmp_path)
    over = problems(frame)
    assert (over.keys, len(over.found), over.averaged) == (["noise.sigma", "seed"], 4, True)
    assert places(measured(frame), "name", "cost", "psnr") == [
        ("ddpm.seed=25, start_t=25", 105.0, 23.0),
        ("ddpm.seed=50, start_t=50", 130.0, 24.0),
    ]


@pytest.mark.parametrize("key", ["image", "noise", "operator.missing", "degrade.sigma"])
def test_problems_alone_are_one_point(key, tmp_path):
    for value, psnr in (("1", 20.0), ("2", 24.0)):
        job(tmp_path, [f"{key}={value}"], metrics(psnr))
    assert places(measured(read_frame(tmp_path)), "name", "psnr") == [("all jobs", 22.0)]


def test_a_sweep_of_one_problem_says_nothing_of_means(tmp_path):
    for layers in (4, 6):
        job(tmp_path, [f"dip.layers={layers}", "image.path=x"], metrics())
    assert averaging(read_frame(tmp_path)) == ""


def test_jobs_started_twice_weigh_their_problem_no_more(sweep):
    assert restored(sweep, "easy.png", 4, 29.0, name="again").name == "again"
    assert measured(read_frame(sweep))["psnr"][0] == 26.5, "easy: (28 + 34) / 2, hard: 22"


def test_an_experiment_is_a_problem_where_it_restores_another_and_a_setting_where_it_does_not(tmp_path):
    def of(folder, experiment, missing, psnr):
        said = metrics(psnr, picture={"size": [64, 64]}, degrade={"kind": "gaussian", "missing": missing})
        job(tmp_path / folder, [f"experiment={experiment}"], said)

    for name, missing, psnr in [("inpaint", 0.5, 32.0), ("superres", 0.0, 25.0)]:
        of("apart", name, missing, psnr)
        of("alike", name, 0.5, psnr)
    assert problems(read_frame(tmp_path / "apart")).keys == ["experiment"]
    assert measured(read_frame(tmp_path / "apart"))["psnr"].tolist() == [28.5], "the easier one does not win"
    assert problems(read_frame(tmp_path / "alike")).keys == []
    assert measured(read_frame(tmp_path / "alike"))["psnr"].tolist() == [32.0, 25.0]
    assert averaging(read_frame(tmp_path / "alike")) == ""
    of("apart", "fast", 0.0, 26.0)  # the problem of superres: no mean, and no comparison of all
    assert averaging(read_frame(tmp_path / "apart")).startswith(
        "Each point is one job, and the jobs restore 2 different problems. The front therefore compares easy problems"
    )


def test_draws_that_all_settings_share_are_averaged_over(tmp_path):
    for start_t, psnrs in ((25, (20.0, 24.0)), (50, (23.0, 22.0))):
        for seed, psnr in enumerate(psnrs):
            job(tmp_path, [f"ddpm.start_t={start_t}", f"ddpm.seed={seed}"], metrics(psnr, nfe=start_t))
    frame = read_frame(tmp_path)
    assert measured(frame)["psnr"].tolist() == [22.0, 22.5], "the luckiest draw does not win"
    assert problems(frame).keys == ["ddpm.seed"]


# cost


def test_a_shared_fit_counts_once_at_its_longest(tmp_path):
    job(tmp_path, ["a=1"], metrics(nfe=50, fit="aa", fit_seconds=8.0))
    job(tmp_path, ["a=2"], metrics(nfe=10, fit="aa", fit_seconds=12.0))  # needed a later epoch of the same fit
    job(tmp_path, ["a=3"], metrics(nfe=20, fit="bb", fit_seconds=3.0, window={"samples": 4}))
    job(tmp_path, ["a=4"], metrics(nfe=30, fit=None))  # checkpoint=<path>
    job(tmp_path, ["a=5"], error="no")
    (line,) = [s for s in summary(read_frame(tmp_path)) if s.startswith("Time")]
    assert "windows 17.00 s, 2 fits 15.00 s with each fit counted once (23.00 s if" in line, "5 + 1 + 4 * 2 + 3 seconds"
    assert read_frame(tmp_path)["fit_jobs"].tolist()[:3] == [2, 2, 1]
    job(tmp_path, ["a=6"], metrics(fit="cc", fit_seconds=3700.0))
    assert "3 fits 1:01:55 with" in summary(read_frame(tmp_path))[-1]
