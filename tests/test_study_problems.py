"""A sweep over several problems: points are means over them, so that the easiest picture does not win."""

import itertools

import pytest
from study_jobs import job, metrics

from dipddpm.study import build, read_study
from dipddpm.study.front import baselines, best, front_of, measured, name_of, problems
from dipddpm.study.plots import quality_against_cost
from dipddpm.study.words import averaging

EASE = {"easy.png": 5.0, "hard.png": -5.0}


def restored(folder, path, layers, psnr, nfe=50, **more):
    """Write a job of a picture; the starts without a DIP profit from an easy one as it does."""
    ease = EASE[path]
    starts = {"posterior_mean": {"psnr": 26 + ease, "nfe": 1}, "noisy_window": {"psnr": 26.5 + ease, "nfe": 57 + ease}}
    return job(folder, [f"image.path={path}", f"dip.layers={layers}"], metrics(psnr + ease, nfe=nfe, **starts), **more)


@pytest.fixture
def sweep(tmp_path):
    """Four layers restore best on average, six the easy picture."""
    for layers, psnrs, nfe in [(4, (23.0, 27.0), 50), (6, (25.0, 22.0), 50), (8, (24.0, 24.0), 100)]:
        for path, psnr in zip(EASE, psnrs, strict=True):
            restored(tmp_path, path, layers, psnr, nfe, pictures=True)
    return tmp_path


def test_points_front_and_best_are_means_over_the_problems(sweep):
    study = read_study(sweep)
    points = measured(study)
    assert [(name_of(study, p.jobs), p.worth, p.psnr) for p in points] == [
        ("layers=4", 130.0, 25.0), ("layers=6", 130.0, 23.5), ("layers=8", 180.0, 24.0),
    ]  # fmt: skip
    assert [name_of(study, p.jobs) for p in front_of(points)] == ["layers=4"]
    assert {j.overrides["image.path"] for j in points[0].jobs} == set(EASE)
    jobs, psnr = best(study)
    assert (name_of(study, jobs), psnr) == ("layers=4", 25.0)
    assert baselines(study) == {"posterior_mean": [(1, 26.0)], "noisy_window": [(57, 26.5)]}


def test_the_page_shows_the_means_and_marks_every_job_of_a_point(sweep):
    text = build(sweep).read_text()
    assert "Each point is the mean over 2 problems: image.path." in text
    assert text.count("mean over 2 problems: image.path") == 3, "the chart, the best result, the best without a DIP"
    tiles = text[text.index("Best result") : text.index("Quality against cost")]
    assert "25.00 dB" in tiles and "26.50 dB" in tiles and "30.00" not in tiles and "31.50" not in tiles
    assert "57 evaluations" in tiles
    assert text.count("<td>●</td>") == 2
    chart = quality_against_cost(read_study(sweep)).axes[0]
    assert chart.get_ylabel() == "mean PSNR of the result (dB)"
    legend = [words.get_text() for words in chart.get_legend().get_texts()]
    assert legend[:3] == [f"DIP, then DDPM: layers={n}" for n in (4, 6, 8)]


def test_a_setting_that_lacks_a_problem_is_no_point(sweep):
    restored(sweep, "easy.png", 10, 30.0)
    job(sweep, ["image.path=hard.png", "dip.layers=10"], error="no")
    job(sweep, ["image.path=unclean.png", "dip.layers=4"], metrics(None))  # a problem without figures is none
    job(sweep, ["image.path=third.png", "dip.layers=4"], metrics(40.0, fit=None))  # nor is one without a total cost
    study = read_study(sweep)
    assert [name_of(study, p.jobs) for p in measured(study)] == ["layers=4", "layers=6", "layers=8"]
    assert best(study)[1] == 25.0
    assert baselines(study)["posterior_mean"] == [(1, 26.0)]


def test_a_young_sweep_falls_back_to_single_jobs_and_says_so(tmp_path):
    restored(tmp_path, "easy.png", 4, 23.0)
    restored(tmp_path, "easy.png", 6, 25.0)
    job(tmp_path, ["image.path=hard.png", "dip.layers=4"])
    study = read_study(tmp_path)
    assert [p.psnr for p in measured(study)] == [28.0, 30.0]
    assert averaging(study) == "Each point is one job: at most one problem has figures yet (image.path)."
    restored(tmp_path, "hard.png", 8, 30.0)
    study = read_study(tmp_path)
    assert sorted(p.psnr for p in measured(study)) == [25.0, 28.0, 30.0]
    assert "no setting has figures for all 2 problems yet" in averaging(study)
    text = build(tmp_path).read_text()
    assert averaging(study) in text
    assert "mean over" not in text


def test_problems_are_pictures_degradations_and_seeds_together(tmp_path):
    for i, (sigma, seed, start_t) in enumerate(itertools.product((15, 50), (0, 1), (25, 50))):
        overrides = [f"noise.sigma={sigma}", f"seed={seed}", f"ddpm.start_t={start_t}", f"ddpm.seed={start_t}"]
        job(tmp_path, overrides, metrics(20.0 + i, nfe=start_t))
    study = read_study(tmp_path)
    over = problems(study)
    assert (over.keys, len(over.found), over.averaged) == (("noise.sigma", "seed"), 4, True)
    assert [(p.worth, p.psnr) for p in measured(study)] == [(105.0, 23.0), (130.0, 24.0)]
    assert [name_of(study, p.jobs) for p in measured(study)] == ["ddpm.seed=25, start_t=25", "ddpm.seed=50, start_t=50"]


def test_problems_alone_are_one_point(tmp_path):
    for path, psnr in (("a", 20.0), ("b", 24.0)):
        job(tmp_path, [f"image={path}"], metrics(psnr))
    study = read_study(tmp_path)
    (point,) = measured(study)
    assert (point.psnr, name_of(study, point.jobs)) == (22.0, "all jobs")
    build(tmp_path)


def test_a_sweep_of_one_problem_says_nothing_of_means(tmp_path):
    for layers in (4, 6):
        job(tmp_path, [f"dip.layers={layers}", "image.path=x"], metrics())
    assert averaging(read_study(tmp_path)) == ""
    assert "Each point" not in build(tmp_path).read_text()


def test_jobs_started_twice_weigh_their_problem_no_more(sweep):
    folder = restored(sweep, "easy.png", 4, 23.0, name="again")
    assert folder.name == "again"
    assert measured(read_study(sweep))[0].psnr == 25.0


def test_an_experiment_is_a_problem_where_it_restores_another_and_a_setting_where_it_does_not(tmp_path):
    def of(folder, experiment, missing, psnr):
        said = metrics(psnr, picture={"size": [64, 64]}, operator={"kind": "mask", "missing": missing})
        job(tmp_path / folder, [f"experiment={experiment}"], said)

    for name, missing, psnr in [("inpaint", 0.5, 32.0), ("superres", 0.0, 25.0)]:
        of("apart", name, missing, psnr)
        of("alike", name, 0.5, psnr)
    assert problems(read_study(tmp_path / "apart")).keys == ("experiment",)
    (point,) = measured(read_study(tmp_path / "apart"))
    assert point.psnr == 28.5, "the easier one does not win"
    assert problems(read_study(tmp_path / "alike")).keys == ()
    assert [p.psnr for p in measured(read_study(tmp_path / "alike"))] == [32.0, 25.0]


def test_draws_that_all_settings_share_are_averaged_over(tmp_path):
    for start_t, psnrs in ((25, (20.0, 24.0)), (50, (23.0, 22.0))):
        for seed, psnr in enumerate(psnrs):
            job(tmp_path, [f"ddpm.start_t={start_t}", f"ddpm.seed={seed}"], metrics(psnr, nfe=start_t))
    study = read_study(tmp_path)
    assert [p.psnr for p in measured(study)] == [22.0, 22.5], "the luckiest draw does not win"
    assert problems(study).keys == ("ddpm.seed",)
