"""Hydra's own files are not written through links, whatever the folder of an earlier run holds."""

import os

from omegaconf import OmegaConf

from dipddpm.cli.links import RemoveLinks


def test_links_in_place_of_the_files_that_hydra_writes_are_removed_and_others_stay(tmp_path):
    (tmp_path / "precious").mkdir()
    sweep, job = tmp_path / "sweep", tmp_path / "sweep/job"
    (job / ".hydra").mkdir(parents=True)
    (sweep / "other").mkdir()
    gone = [sweep / "multirun.yaml", job / "sample.log", job / ".hydra/config.yaml", sweep / "other/.hydra"]
    stay = [job / "fit", job / "notes.log"]
    for link in (*gone, *stay):
        link.symlink_to(tmp_path / "precious")
    (job / ".hydra/hydra.yaml").write_text("kept")
    hydra = {"job": {"name": "sample"}, "run": {"dir": str(job)}, "sweep": {"dir": str(sweep)}}
    RemoveLinks().on_multirun_start(OmegaConf.create({"hydra": hydra}))
    assert not any(link.is_symlink() for link in gone) and all(link.is_symlink() for link in stay)
    assert (job / ".hydra/hydra.yaml").read_text() == "kept" and (tmp_path / "precious").is_dir()
    gone[1].symlink_to(tmp_path / "nowhere")
    RemoveLinks().on_run_start(OmegaConf.create({"hydra": hydra}))
    assert not gone[1].is_symlink()
    for odd in ("${nosuch}", str(tmp_path / "none")):
        hydra = {"job": {"name": "sample"}, "run": {"dir": odd}, "sweep": {"dir": odd}}
        RemoveLinks().on_run_start(OmegaConf.create({"hydra": hydra}))
        RemoveLinks().on_multirun_start(OmegaConf.create({"hydra": hydra}))


def test_a_pipe_for_which_hydra_would_wait_is_removed(tmp_path):
    (tmp_path / "out/.hydra").mkdir(parents=True)
    os.mkfifo(pipe := tmp_path / "out/.hydra/overrides.yaml")
    hydra = {"run": {"dir": str(tmp_path / "out")}, "job": {"name": "sample"}}
    RemoveLinks().on_run_start(OmegaConf.create({"hydra": hydra}))
    assert not pipe.exists()
