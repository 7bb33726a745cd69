"""Check the command line before any work. A mistake gives one line and exit code 2. Imports no torch.

Hydra gives many lines and exit code 1 for a bad override. It also composes each job of a sweep only when the job's turn
comes. This module composes and checks every job before the first one starts.
"""

from __future__ import annotations

import argparse
import copy
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hydra import compose
from hydra.core.override_parser.types import OverrideType
from omegaconf import DictConfig

from dipddpm.cli import jobs
from dipddpm.cli.explain import explained, parse
from dipddpm.cli.texts import PIECE, as_typed
from dipddpm.config import compose as config
from dipddpm.config import hydra_private
from dipddpm.config.folder import conf_folder
from dipddpm.config.schema import Config
from dipddpm.errors import UserError
from dipddpm.runs.inspect import Seen, inspect, inspect_settings

KEYS = config.known_keys(Config)
VALUES = {key for key in KEYS if not any(other.startswith(f"{key}.") for other in KEYS)}  # the other keys are groups
OF_FIT = ("image", "noise", "operator", "dip", "seed")  # groups and keys that determine a fit
MODES = ("run", "multirun", "cfg", "info", "shell_completion")  # options of Hydra that exclude one another
MOST_REFUSALS = 5  # refusals of a sweep's jobs that are printed; further ones are counted
MANY_JOBS = 200  # the check of a job takes some hundredths of a second
Compose = Callable[..., DictConfig]  # composes the configuration of a job from its overrides


def check_arguments(command: str, argv: Sequence[str] | None = None) -> list[str]:
    """Compose and check the job, or every job of a grid; leave with exit code 2 if one is refused.

    The jobs of a search are not known beforehand: its space is checked at the ends of ranges and at each choice.

    Args:
        command: ``fit`` or ``sample``, the function that the entry point runs.
        argv: The arguments without the program's name; None reads the command line.

    Returns:
        The arguments for Hydra. Texts that it would read as numbers are in quotes, the folder of ``--config-path`` is
        absolute, and a sweep's overrides are in the order of `distinct_fits_first`.
    """
    config.register()
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        args, unread = hydra_private.parse_arguments(argv)
    except ValueError as error:
        print(f"error: {error}; to see the options, type --help", file=sys.stderr)
        sys.exit(2)
    if args.help or args.hydra_help:
        hydra_private.list_groups_without_copies()
    if args.help or args.hydra_help or args.info or args.shell_completion:
        return argv
    name = args.config_name or "config"
    seen: Seen | None = None if args.cfg else {}  # --cfg shows the configuration and reads no file
    typed, sweep = [as_typed(o, args.multirun) for o in args.overrides], False
    refused: dict[str, str] = {}

    @functools.cache  # Hydra takes a fifth of a second to compose, and the jobs of a sweep share their groups
    def composed(*overrides: str) -> DictConfig:
        return compose(name, overrides=list(overrides))

    try:
        _check_options(args, unread)
        with hydra_private.initialized(_conf(args), args.config_dir):
            sweep, own, points = jobs.find(name, typed, command, args)
            for point in _counted(points):
                try:
                    _check_point([*own, *point], composed, command, seen)
                except UserError as error:
                    refused.setdefault(f"{error}{jobs.whole_numbers(str(error), typed)}", " ".join(point))
    except UserError as error:
        refused[str(error)] = ""
    for text, point in list(refused.items())[:MOST_REFUSALS]:
        print(f"error: {text}{f' (in the job {point})' if sweep and point else ''}", file=sys.stderr)
    if len(refused) > MOST_REFUSALS:
        print(f"error: and {len(refused) - MOST_REFUSALS} more", file=sys.stderr)
    if refused:
        sys.exit(2)
    _say_typed_twice(typed)
    argv = hydra_private.replaced(argv, distinct_fits_first(typed) if sweep else typed)
    return [*argv, "--config-path", str(_conf(args))] if args.config_path else argv  # Hydra would look elsewhere


def _counted(points: Sequence[list[str]]) -> Iterator[list[str]]:
    """Yield the jobs to check. A progress bar counts them where there are many."""
    if len(points) < MANY_JOBS:
        yield from points
        return
    from dipddpm.progress import bar

    with bar("jobs") as progress:
        yield from progress.track(points, task_id=progress.add_task("checking", total=len(points), note=""))


def distinct_fits_first(overrides: Sequence[str]) -> list[str]:
    """Order a sweep's overrides so that the keys which determine a fit vary fastest.

    Jobs run in the order of the grid. With the fit's keys last, the first jobs need different fits. Parallel workers
    then make different fits at once; otherwise all of them would wait for the same one.
    """
    return sorted(overrides, key=lambda o: _key(o).split(".")[0].split("@")[0] in OF_FIT)


def _key(override: str) -> str:
    return override.lstrip("+").partition("=")[0]


def _check_options(args: argparse.Namespace, unread: Sequence[str]) -> None:
    """Refuse options that Hydra does not know, and those that exclude one another."""
    if unread:
        raise UserError(f"{' '.join(unread)} cannot be read: type options such as -m first, then key=value")
    given = ["--" + option for option in MODES if getattr(args, option)]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} exclude one another: type one of them")
    if args.resolve and not args.cfg:
        raise UserError("--resolve works with --cfg only: type --cfg job --resolve")


def _conf(args: argparse.Namespace) -> Path:
    """Return the folder of the configuration files; refuse options that name no folder."""
    conf = Path(args.config_path).absolute() if args.config_path else conf_folder()
    if not conf.is_dir():
        given = f"--config-path {args.config_path}: " if args.config_path else ""
        raise UserError(f"{given}there is no folder {conf}; type --config-path <a copy of conf/>")
    if args.config_dir and not Path(args.config_dir).is_dir():
        raise UserError(f"--config-dir {args.config_dir} is no folder: type --config-dir <folder>")
    return conf


def _say_typed_twice(overrides: Sequence[str]) -> None:
    """Print a note for each key that is typed more than once: Hydra takes the last value."""
    values: dict[str, list[str]] = {}
    for override in overrides:
        values.setdefault(_key(override), []).append(override.partition("=")[2])
    for key, given in values.items():
        if len(given) > 1:
            before, last = list(dict.fromkeys(given[:-1])), given[-1]
            if before == [last]:
                print(f"note: {key}={last} is typed {len(given)} times, and counts once", file=sys.stderr)
                continue
            each = dict.fromkeys(value for values in (*before, last) for value in PIECE.findall(values))
            advice = "" if key.startswith("hydra") else f"; to run each, type -m {key}={','.join(each)}"
            replaced = " ".join(f"{key}={value}" for value in before)
            print(f"note: {key}={last} replaces {replaced}, which is typed before it{advice}", file=sys.stderr)


def _check_point(overrides: Sequence[str], composed: Compose, command: str, seen: Seen | None) -> None:
    """Compose and check one job.

    ``seen`` holds the findings of the jobs before; with None no file is read.
    """
    with explained(overrides):
        parsed = parse(overrides)
        values = [o for o in parsed if o.type == OverrideType.CHANGE and o.get_key_element() in VALUES]
        cfg = copy.deepcopy(composed(*(o.input_line or "" for o in parsed if o not in values)))
        hydra_private.apply_overrides(values, cfg)
        c = config.typed(cfg)
    if seen is None:
        inspect_settings(c, command)
    else:
        inspect(c, command, seen)
