"""The only uses of Hydra's private modules. Imports no torch.

Hydra 1.3 has no public function that parses its command line, changes values of a composed configuration, or lists the
jobs of a grid. tests/config/test_hydra_private.py fails when a release of Hydra changes one of the private ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig


def parse_arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Return Hydra's options and overrides, and the arguments that it does not understand.

    Args:
        argv: The arguments without the program's name; None reads the command line.
    """
    return get_args_parser().parse_known_args(None if argv is None else list(argv))


def apply_overrides(overrides: Sequence[Override], cfg: DictConfig) -> None:
    """Change values of a composed configuration in place, as the last step of composing does.

    Raises:
        HydraException: For a key that does not exist, or a value of the wrong type.
    """
    ConfigLoaderImpl._apply_overrides_to_config(list(overrides), cfg)


def grid_points(sweep: Sequence[Override]) -> list[list[str]]:
    """Return the overrides of each job of a grid, in the order in which Hydra's own sweeper runs them."""
    batches = BasicSweeper.split_arguments(list(sweep), max_batch_size=None)
    return [list(point) for batch in batches for point in batch]
