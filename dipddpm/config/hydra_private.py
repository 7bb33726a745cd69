"""The only uses of Hydra's private modules. Imports no torch.

Hydra 1.3 has no public function that parses its command line, adds the folder of ``--config-dir``, changes values of a
composed configuration, or lists the jobs of a grid. tests/config/test_hydra_private.py fails when a release of Hydra
changes one of the private ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig

_list_with_copies = ConfigLoaderImpl.get_group_options


def parse_arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Return Hydra's options and overrides, and the arguments that it does not understand.

    Args:
        argv: The arguments without the program's name; None reads the command line.

    Raises:
        ValueError: For an option without its value, or with one that it does not take.
    """
    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        return parser.parse_known_args(None if argv is None else list(argv))
    except argparse.ArgumentError as error:
        raise ValueError(str(error).removeprefix("argument ")) from error


def replaced(argv: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Return the arguments with other overrides in the places of theirs, in order. Options and their values stay."""
    before = parse_arguments(argv)[0].overrides
    n = len(before)
    at = next((i for i in range(len(argv) - n, -1, -1) if list(argv[i : i + n]) == before), len(argv))
    return [*argv[:at], *overrides, *argv[at + n :]]


@contextmanager
def initialized(conf: Path, config_dir: str | None) -> Iterator[None]:
    """Initialize Hydra with a folder of configuration files and the folder of ``--config-dir``, as its command does."""
    version.setbase("1.3")
    path = create_config_search_path(str(conf))
    if config_dir:
        path.prepend("command-line", f"file://{Path(config_dir).absolute()}", SearchPathQuery(provider="schema"))
    Hydra.create_main_hydra2(task_name="app", config_search_path=path)
    try:
        yield
    finally:
        GlobalHydra.instance().clear()


def compose_sweep(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """Return the configuration of a sweep, with the node ``hydra``, as Hydra composes it before its jobs."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    return hydra.compose_config(config_name, list(overrides), RunMode.MULTIRUN)


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


def list_groups_without_copies() -> None:
    """Let Hydra list the choices of a group without a copy of its configuration store.

    ``--help`` lists a hundred groups, and copies took two thirds of its time. Hydra needs a copy where overrides or the
    primary configuration may name further folders (``hydra.searchpath``), as for shell completion.
    """

    def options(
        self: ConfigLoaderImpl,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        if config_name is not None or overrides:
            return _list_with_copies(self, group_name, results_filter, config_name, overrides)
        return self.repository.get_group_options(group_name, results_filter)

    ConfigLoaderImpl.get_group_options = options
