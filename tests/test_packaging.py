"""What is released: a source distribution that is a clone, and a wheel whose commands run from any folder."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from email import message_from_string

import pytest
from support import ROOT
from support.commands import SMALL

LEFT_OUT = (".*", "outputs", "multirun", "build", "dist", "*.egg-info", "__pycache__")
IN_CLONE = ("bench", "conf", "dipddpm", "docs", "prior_training", "scripts", "tests")


def done(*command, cwd, **more):
    ended = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=300, env={**os.environ, **more}
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def files(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts}


@pytest.fixture(scope="session")
def sdist(tmp_path_factory):
    """The source distribution, unpacked; pip builds wheels from one, too."""
    folder = tmp_path_factory.mktemp("sdist")
    shutil.copytree(ROOT, folder / "clone", ignore=shutil.ignore_patterns(*LEFT_OUT))
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    done(sys.executable, "-c", build, cwd=folder / "clone")
    (packed,) = folder.glob("*.tar.gz")
    with tarfile.open(packed) as tar:
        tar.extractall(folder, filter="data")
    return folder / packed.name.removesuffix(".tar.gz")


@pytest.fixture(scope="session")
def installed(sdist, tmp_path_factory):
    """The wheel, installed into a folder of its own; what it depends on comes from the environment of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    done(*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", folder, sdist, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    done(*pip, "install", "--no-deps", "--no-index", "--target", folder / "site", wheel, cwd=folder)
    return folder / "site"


@pytest.fixture
def run(installed, tmp_path):
    """Run one of the console commands in an empty folder."""
    return lambda name, *typed: done(installed / "bin" / name, *typed, cwd=tmp_path, PYTHONPATH=str(installed))


def test_the_source_distribution_holds_what_the_tests_need(sdist):
    for name in IN_CLONE:
        if (ROOT / name).is_dir():
            assert files(sdist / name) == files(ROOT / name), name
    assert {p.name for p in ROOT.glob("*.py")} | {"Makefile", "constraints.txt"} <= {p.name for p in sdist.iterdir()}


def test_the_wheel_holds_the_configuration_and_the_weights(installed):
    package = installed / "dipddpm"
    assert files(package / "conf") == files(ROOT / "conf") - {"train_prior.yaml"}
    assert files(package / "assets") == files(ROOT / "dipddpm" / "assets")
    assert files(package) - files(package / "conf") >= files(ROOT / "dipddpm")


def test_the_licences_of_code_and_weights_are_told_apart(installed):
    (info,) = installed.glob("*.dist-info")
    metadata = message_from_string((info / "METADATA").read_text())
    assert metadata["License-Expression"] == "MIT AND LicenseRef-dipddpm-weights-research-only"
    assert sorted(metadata.get_all("License-File", [])) == [
        "LICENSE",
        "LICENSES/LicenseRef-dipddpm-weights-research-only.txt",
    ]
    assert all((info / "licenses" / name).is_file() for name in metadata.get_all("License-File", []))


def test_the_commands_run_from_another_folder_with_a_configuration_of_ones_own(run, tiny_prior, tmp_path):
    (tmp_path / "mine/prior").mkdir(parents=True)
    (tmp_path / "mine/prior/own.yaml").write_text(f"defaults: [faces64]\npath: {tiny_prior}\n")
    typed = ["--config-dir", "mine", "prior=own", *SMALL, "baselines=false", "dip.max_epochs=10", "ddpm.start_t=3"]
    run("dipddpm-sample", "-m", *typed, "hydra.sweep.dir=sweep")
    (metrics,) = (tmp_path / "sweep").glob("*/metrics.json")
    assert (metrics.parent / "sample.log").is_file(), "named as in a clone"
    assert json.loads(metrics.read_text())["fit"]["key"] in run("dipddpm-fits", "list")
    assert str(tmp_path / "sweep/index.html") in run("dipddpm-study", "sweep")


def test_the_configuration_is_the_installed_one_and_a_run_is_named_as_in_a_clone(run, installed):
    assert f"file://{installed}/dipddpm/conf" in run("dipddpm-sample", "--info", "searchpath")
    assert run("dipddpm-train-dip", "--help").startswith("train_dip is powered by Hydra.")


def test_a_refusal_names_the_command_that_was_typed(installed, tmp_path):
    command = [installed / "bin/dipddpm-sample", "dip.layers=4,6"]
    where = {**os.environ, "PYTHONPATH": str(installed)}
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=where)
    assert ended.returncode == 2
    assert ended.stderr.endswith("type -m first: dipddpm-sample -m ...\n")
