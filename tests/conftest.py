"""Fixtures shared by the tests."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks; also for the commands that tests start

from support import ROOT
from support.priors import write_tiny_prior


@pytest.fixture(autouse=True)
def log_levels():
    """Give the loggers their levels back after a test: a command run in this process sets them for the process."""
    loggers = [logging.getLogger(), logging.getLogger("dipddpm")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of pictures beside the repository; tests that need it skip where it is missing."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the data folder ../{folder.parent.name}/{folder.name}, which is missing")
    return folder


@pytest.fixture(scope="session")
def tiny_prior(tmp_path_factory) -> Path:
    """A randomly initialised 16x16 DDPM in diffusers' format: real loading, no quality."""
    folder = tmp_path_factory.mktemp("prior")
    write_tiny_prior(folder)
    return folder


@pytest.fixture
def on_cpu(monkeypatch):
    """Let ``device=auto`` mean the CPU: the test compares bits with those of a CPU, or counts on its way of working."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def short_fits(monkeypatch):
    """Let `dd.fit_dip` end after 20 epochs: documentation shows real fits, and its tests need none."""
    from dataclasses import replace

    import dipddpm as dd

    fit_dip = dd.fit_dip

    def short(problem, network=None, settings=None, **more):
        settings = settings or dd.DipSettings.of(network if isinstance(network, str) else "cnn")
        return fit_dip(problem, network, replace(settings, max_epochs=20), **more)

    monkeypatch.setattr(dd, "fit_dip", short)


@pytest.fixture
def configure(tiny_prior, tmp_path):
    """Compose a configuration as the command line does: small, on the tiny prior, with its own store."""
    from hydra import compose, initialize_config_dir

    from dipddpm.config import compose as config

    config.register()
    small = [
        f"prior.path={tiny_prior}",
        f"store={tmp_path / 'fits'}",
        "dip.layers=1",
        "dip.channels=8",
        "dip.max_epochs=30",
        "ddpm.start_t=20",
        "stopping=never",
        *("dip.precision=fp32", "ddpm.precision=fp32"),  # the same on every processor
    ]

    def configure(*overrides: str):
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return config.typed(compose("config", overrides=[*small, *overrides]))

    return configure
