"""One job: whether it is done, how it ends, how many threads it has, in which order a sweep makes its fits."""

import json

import pytest
import yaml

from dipddpm import config, runs
from dipddpm.jobs import Job
from dipddpm.launch import distinct_fits_first, done_before, objective, share_of_threads


def test_a_job_is_done_only_when_whole_and_of_this_command_and_configuration(configure, tmp_path):
    c = configure("baselines=false")
    runs.sample(c, Job(tmp_path))
    assert done_before(tmp_path, c, "sample")
    assert done_before(tmp_path, configure("baselines=false", "threads=1", "panel_every=7"), "sample"), "how, not what"
    assert not done_before(tmp_path, c, "fit")
    assert not done_before(tmp_path, configure("baselines=false", "ddpm.start_t=21"), "sample")
    whole = (tmp_path / "metrics.json").read_text()
    (tmp_path / "metrics.json").write_text(whole[: len(whole) // 2])
    assert not done_before(tmp_path, c, "sample")
    (tmp_path / "metrics.json").unlink()
    assert not done_before(tmp_path, c, "sample")


def test_the_objective_is_what_metrics_json_says(configure, tmp_path):
    c = configure("objective=[result.psnr,cost.total_evaluations_worth]")
    (tmp_path / "metrics.json").write_text(
        json.dumps({"result": {"psnr": 26.5}, "cost": {"total_evaluations_worth": 700.0}})
    )
    assert objective(c, tmp_path) == (26.5, 700.0)
    assert objective(configure(), tmp_path) == 26.5
    (tmp_path / "metrics.json").write_text(json.dumps({"result": {"nfe": 3}}))
    assert objective(configure(), tmp_path) is None, "no clean picture, no PSNR"


@pytest.mark.parametrize(
    ("launcher", "cores", "threads"),
    [
        ({"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}, 8, None),
        ({"n_jobs": -1}, 8, 1),
        ({"n_jobs": 2}, 8, 4),
        ({"n_jobs": -2}, 8, 1),
        ({"n_jobs": 16}, 8, 1),
        ({"cpus_per_task": 3}, 8, 3),
        ({"ray": {"init": {}, "remote": {"num_cpus": 2}}}, 8, 2),
    ],
)
def test_jobs_side_by_side_share_the_cores(launcher, cores, threads):
    assert share_of_threads(launcher, cores) == threads


def test_the_keys_of_a_fit_vary_fastest():
    typed = ["-m", "dip.layers=4,6", "ddpm.start_t=50,100", "seed=0,1", "checkpoint=stop"]
    assert distinct_fits_first(typed) == ["-m", "ddpm.start_t=50,100", "checkpoint=stop", "dip.layers=4,6", "seed=0,1"]
    alone = ["dip.layers=4", "ddpm.start_t=50"]
    assert distinct_fits_first(alone) == alone
    group = ["--multirun", "dip=cnn,skip", "image@image=astronaut", "ddpm.seed=1,2"]
    assert distinct_fits_first(group)[1] == "ddpm.seed=1,2"


def test_config_yaml_is_what_the_configuration_was(configure, tmp_path):
    c = configure("baselines=false")
    runs.fit(c, Job(tmp_path))
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == config.plain(c)
