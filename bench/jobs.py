"""What the commands make, for the other files: a configuration from its overrides, and stored fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir

from dipddpm.config import compose as config
from dipddpm.config.folder import conf_folder
from dipddpm.config.schema import Config
from dipddpm.dip.fitting import RunSettings
from dipddpm.fits import FitStore
from dipddpm.fits.many import obtain_all
from dipddpm.fits.wanted import Obtained, Wanted


def configured(typed: Sequence[str]) -> Config:
    """Return the configuration that the command line composes from these overrides."""
    config.register()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return config.typed(compose("config", overrides=list(typed)))


def obtained(store: FitStore, wanted: Sequence[Wanted], run: RunSettings, **how: Any) -> list[Obtained]:
    """Return the wanted fits in order, found or made (`obtain_all`); raise the exception of the first that failed."""
    found = []
    for answer in obtain_all(store, wanted, run, **how):
        if isinstance(answer, Exception):
            raise answer
        found.append(answer)
    return found
