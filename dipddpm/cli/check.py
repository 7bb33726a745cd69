"""Check the command line before any work. A mistake gives one line and exit code 2. Imports no torch.

Hydra gives many lines and exit code 1 for a bad override. It also composes each job of a sweep only when the job's turn
comes. This module composes and checks every job before the first one starts.
"""

from __future__ import annotations

import copy
import functools
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType, RangeSweep
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig

from dipddpm.cli.explain import explained, parse
from dipddpm.config import compose as config
from dipddpm.config import hydra_private
from dipddpm.config.checkpoint import parse as parse_checkpoint
from dipddpm.config.folder import conf_folder
from dipddpm.config.renamed import refuse_old
from dipddpm.config.schema import Config, has_clean
from dipddpm.errors import UserError, install, suggestion, typed_as
from dipddpm.metrics.weights import stlpips_weights
from dipddpm.names import LOOKS, MEASURED, SCRIPTS
from dipddpm.runs.inspect import Seen, inspect, inspect_settings

KEYS = config.known_keys(Config)
VALUES = {key for key in KEYS if not any(other.startswith(f"{key}.") for other in KEYS)}  # the others are groups
EXCLUDED = "hydra.job.config.override_dirname.exclude_keys"
LISTS = ("image.box", "objective")  # keys whose one value is a list
Points = tuple[list[str], list[list[str]]]
MOST_REFUSALS = 5  # of a sweep's grid points, before the rest is only counted


class Compose(Protocol):
    """Composes a job's configuration from its overrides."""

    def __call__(self, *overrides: str) -> DictConfig: ...


def check_arguments(command: str, argv: Sequence[str] | None = None) -> None:
    """Compose and check the job, or every job of a grid; leave with exit code 2 if one is refused.

    The jobs of a search are not known beforehand: its space is checked at the ends of ranges and at each choice.

    Args:
        command: ``fit`` or ``sample``, the function that the entry point runs.
        argv: The arguments without the program's name; None reads the command line.
    """
    config.register()
    args, unread = hydra_private.parse_arguments(argv)
    if args.help or args.hydra_help or args.info or args.shell_completion:
        return
    name = args.config_name or "config"
    seen: Seen | None = None if args.cfg else {}  # --cfg shows the configuration and looks at no file
    refused: dict[str, str] = {}

    @functools.cache  # Hydra takes a fifth of a second to compose, and the jobs of a sweep share their groups
    def composed(*overrides: str) -> DictConfig:
        return compose(name, overrides=list(overrides))

    try:
        if unread:
            raise UserError(f"{' '.join(unread)} cannot be read: type options such as -m first, then key=value")
        refuse_old(args.overrides)
        conf = Path(args.config_path).absolute() if args.config_path else conf_folder()
        if not conf.is_dir():
            raise UserError(f"--config-path {args.config_path}: there is no folder {conf}; give a copy of conf/")
        with initialize_config_dir(str(conf), version_base="1.3"):
            more = [f"hydra.searchpath=[{Path(args.config_dir).absolute().as_uri()}]"] if args.config_dir else []
            typed = [*more, *args.overrides]
            own, points = (_points if args.multirun else _single)(name, typed, command, seen)
            for point in points:
                try:
                    _check_point([*own, *point], composed, command, seen)
                except UserError as error:
                    refused.setdefault(f"{error}{_fraction(str(error), args.overrides)}", " ".join(point))
    except UserError as error:
        refused[str(error)] = ""
    finally:
        GlobalHydra.instance().clear()
    for text, point in list(refused.items())[:MOST_REFUSALS]:
        where = f" (in the job {point})" if args.multirun and point else ""
        print(f"error: {text}{where}", file=sys.stderr)
    if len(refused) > MOST_REFUSALS:
        print(f"error: and {len(refused) - MOST_REFUSALS} more", file=sys.stderr)
    if refused:
        sys.exit(2)


def _single(config_name: str, overrides: Sequence[str], command: str, seen: Seen | None) -> Points:
    """Return the one job to check, as `_points` does; refuse overrides that only a sweep can run."""
    way_out = f"type -m first: {typed_as(SCRIPTS[command])} -m ..."
    with explained(overrides):
        for o in parse(overrides):
            if not o.is_sweep_override() or o.is_hydra_override():
                continue
            if o.is_interval_sweep():
                raise UserError(f"{o.input_line} is a range to search: {way_out}")
            key, _, values = (o.input_line or "").partition("=")
            one = f"; for one list, type {key}=[{values}]" if key in LISTS else ""
            raise UserError(f"{o.input_line} is a list of values: to run each, {way_out}{one}")
        chosen = [o for o in overrides if o.startswith(("experiment=", "hydra/"))]
        if seen is None or not chosen:  # to compose Hydra's own configuration takes a fifth of a second
            return [], [list(overrides)]
        hydra = compose(config_name, overrides=list(overrides), return_hydra_config=True).hydra
    for kind in ("sweeper", "launcher"):
        basic = str(hydra[kind].get("_target_")).endswith(f".Basic{kind.title()}")
        if not basic and hydra.mode != RunMode.MULTIRUN:
            choice = f"hydra/{kind}={hydra.runtime.choices[f'hydra/{kind}']}"
            given = choice if choice in chosen else f"{' '.join(chosen)} has {choice}, which"
            raise UserError(f"{given} is for a sweep's jobs: {way_out}")
    return [], [list(overrides)]


def _points(config_name: str, overrides: Sequence[str], command: str, seen: Seen | None) -> Points:
    """Return the overrides of Hydra's own keys, and the overrides of each job to check.

    The jobs to check are all jobs of a grid, or those at the ends of a search's space.
    """
    with explained(overrides):
        parsed = parse(overrides)
        own = [o.input_line or "" for o in parsed if o.is_hydra_override()]
        fixed = [o.input_line or "" for o in parsed if not o.is_sweep_override()]
        hydra = compose(config_name, overrides=fixed, return_hydra_config=True).hydra
        if seen is not None:
            _check_launcher(hydra.launcher)
        space = [f"{key}={value}" for key, value in (hydra.sweeper.get("params") or {}).items()]
        sweep = [*parse(space), *(o for o in parsed if not o.is_hydra_override())]
        if not str(hydra.sweeper.get("_target_")).endswith(".BasicSweeper"):
            _check_directions(config.typed(compose(config_name, overrides=fixed)), hydra.sweeper, command)
            return own, _ends(sweep)
        for o in sweep:
            if o.is_sweep_override() and o.key_or_group in hydra.job.config.override_dirname.exclude_keys:
                raise UserError(
                    f"{o.input_line} cannot be swept: the names of job folders leave this key out, so its jobs would "
                    f"share a folder; to have the key in the names, type {EXCLUDED}=[]"
                )
            if o.is_interval_sweep():
                raise UserError(
                    f"{o.input_line} is a range to search, and a grid needs values: type "
                    f"{o.key_or_group}=range(first,end,step), or search the range with hydra/sweeper=optuna"
                )
        points = hydra_private.grid_points(sweep)
    if not points:
        empty = next(o.input_line for o in sweep if o.is_sweep_override() and not list(o.sweep_iterator()))
        raise UserError(f"{empty} has no value, so the sweep has no job: type values, such as seed=1,2")
    return own, points


def _check_launcher(launcher: DictConfig) -> None:
    if str(launcher.get("_target_")).endswith("SlurmLauncher") and shutil.which("sbatch") is None:
        raise UserError(
            "hydra/launcher=submitit_slurm needs SLURM's sbatch, which this machine does not have: type "
            "hydra/launcher=submitit_local or hydra/launcher=joblib"
        )


def _ends(sweep: Sequence[Override]) -> list[list[str]]:
    """Return the first corner of a search's space, then that corner with each other choice or end in turn."""
    values: dict[str, list[str]] = {}
    for o in sorted(sweep, key=lambda o: not o.is_sweep_override()):  # a single value replaces a range of the same key
        key, value = o.get_key_element(), o.value()
        if isinstance(value, IntervalSweep):
            values[key] = [f"{key}={value.start}", f"{key}={value.end}"]
        elif isinstance(value, RangeSweep):  # a search may end at `stop` itself
            values[key] = [f"{key}={value.start}", f"{key}={value.stop}"]
        elif o.is_sweep_override():
            values[key] = [f"{key}={text}" for text in o.sweep_string_iterator()]
        else:
            values[key] = [f"{key}={o.get_value_element_as_str()}"]
    first = {key: texts[0] for key, texts in values.items()}
    points = [list(first.values())]
    points += [list((first | {key: text}).values()) for key, texts in values.items() for text in texts[1:]]
    return points


def _fraction(refusal: str, overrides: Sequence[str]) -> str:
    """Return the override to type instead of a refused search over fractions, or nothing."""
    key = refusal.partition("=")[0]
    given = [o for o in overrides if o.startswith(f"{key}=interval(")]
    return f"; for whole numbers type {key}=int({given[0].partition('=')[2]})" if given else ""


def _check_directions(c: Config, sweeper: DictConfig, command: str) -> None:
    """Refuse a search that fails after its first jobs, or that looks for the worst figures."""
    for name in c.objective:
        if command == "fit" and not name.startswith("dip."):
            raise UserError(f"objective={name} is not measured by train_dip.py: type objective=[dip.psnr]")
    given = sweeper.get("direction", "minimize")
    names = [str(getattr(d, "name", d)) for d in (given if isinstance(given, Sequence | ListConfig) and
             not isinstance(given, str) else [given])]  # fmt: skip
    typed = f"hydra.sweeper.direction=[{','.join(names)}]"
    for name in names:
        if name not in ("minimize", "maximize"):
            raise UserError(f"{typed} is not allowed: minimize or maximize{suggestion(name, ('minimize', 'maximize'))}")
    if len(names) != len(c.objective):
        raise UserError(
            f"{typed} has the wrong number of directions ({len(names)}): type one for each figure of "
            f"objective=[{','.join(c.objective)}] ({len(c.objective)})"
        )
    for objective, name in zip(c.objective, names, strict=True):
        wanted = "maximize" if objective in MEASURED and objective not in LOOKS else "minimize"
        if name != wanted:
            raise UserError(f"{typed} would {name} {objective}: type {wanted} in its place")
    costs = [o for o in c.objective if o.startswith("cost.")]
    if costs and parse_checkpoint(c.checkpoint).kind == "file":
        raise UserError(
            f"objective={costs[0]} is unknown with a file as checkpoint, which does not hold the cost of its fit: type "
            "checkpoint=<epoch>, or objective=[result.psnr,result.nfe]"
        )
    unknown = [o for o in c.objective if o in MEASURED]
    if unknown and not has_clean(c):
        raise UserError(f"objective={unknown[0]} needs a clean picture: type image.reference=<file>, or image=file")
    looks = [o for o in c.objective if o in LOOKS]
    if looks and not stlpips_weights():
        raise UserError(f"objective={looks[0]} needs the weights of ST-LPIPS: type {install('perceptual')}")


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
