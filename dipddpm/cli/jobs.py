"""Find the jobs of a command line: one run, all jobs of a grid, or the ends of a search. Imports no torch."""

from __future__ import annotations

import argparse
import math
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from hydra import compose
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig

from dipddpm.cli.explain import explained, parse
from dipddpm.config import compose as config
from dipddpm.config import hydra_private
from dipddpm.config.checkpoint import parse as parse_checkpoint
from dipddpm.config.schema import Config, has_clean
from dipddpm.errors import UserError, install, need, suggestion, typed_as
from dipddpm.metrics.weights import stlpips_weights
from dipddpm.names import LOOKS, MEASURED, MOST_JOBS, SCRIPTS

EXCLUDED = "hydra.job.config.override_dirname.exclude_keys"
LISTS = ("image.box", "objective")  # keys whose one value is a list
Jobs = tuple[bool, list[str], list[list[str]]]


def find(name: str, overrides: Sequence[str], command: str, args: argparse.Namespace) -> Jobs:
    """Return whether the jobs are a sweep's, the overrides of Hydra's own keys, and the overrides of each job to check.

    Args:
        name: The name of the primary configuration.
        overrides: All overrides, as Hydra gets them.
        command: ``fit`` or ``sample``.
        args: Hydra's options.

    Returns:
        The jobs to check are the one run, all jobs of a grid, or those at the ends of a search's space.

    Raises:
        UserError: When Hydra or its plugins cannot run the sweep as it is typed.
    """
    with explained(overrides):
        parsed = parse(overrides)
        # To compose Hydra's own configuration takes a fifth of a second.
        asked = args.multirun or any(o.startswith(("experiment=", "hydra")) for o in overrides)
        hydra = hydra_private.compose_sweep(name, overrides).hydra if asked and not args.cfg else None
        if hydra is not None and (args.multirun or hydra.mode == RunMode.MULTIRUN):
            return True, *_points(name, parsed, command, hydra)
    _refuse_sweep(parsed, command, args.cfg)
    if hydra is not None:
        _refuse_plugins(hydra, overrides, command)
    return False, [], [list(overrides)]


def _refuse_sweep(overrides: Sequence[Override], command: str, shown: str | None) -> None:
    """Refuse overrides that only a sweep can run."""
    way_out = f"type -m first: {typed_as(SCRIPTS[command])} -m ..."
    for o in overrides:
        if not o.is_sweep_override():
            continue
        if shown:
            raise UserError(f"{o.input_line} is for a sweep, and --cfg shows one configuration: type one value")
        if o.is_interval_sweep():
            raise UserError(f"{o.input_line} is a range to search: {way_out}")
        key, _, values = (o.input_line or "").partition("=")
        one = f"; for one list, type {key}=[{values}]" if key in LISTS else ""
        raise UserError(f"{o.input_line} is a list of values: to run each, {way_out}{one}")


def _refuse_plugins(hydra: DictConfig, overrides: Sequence[str], command: str) -> None:
    """Refuse a sweeper or a launcher other than Hydra's own for one run."""
    chosen = [o for o in overrides if o.startswith(("experiment=", "hydra/"))]
    for kind in ("sweeper", "launcher"):
        if not str(hydra[kind].get("_target_")).endswith(f".Basic{kind.title()}"):
            choice = f"hydra/{kind}={hydra.runtime.choices[f'hydra/{kind}']}"
            given = choice if choice in chosen else f"{' '.join(chosen)} has {choice}, which"
            raise UserError(f"{given} is for a sweep's jobs: type -m first: {typed_as(SCRIPTS[command])} -m ...")


def _points(
    name: str, parsed: Sequence[Override], command: str, hydra: DictConfig
) -> tuple[list[str], list[list[str]]]:
    """Return the overrides of Hydra's own keys, and the overrides of each job of the sweep to check."""
    own = [o.input_line or "" for o in parsed if o.is_hydra_override()]
    _check_launcher(hydra.launcher)
    space = [f"{key}={value}" for key, value in (hydra.sweeper.get("params") or {}).items()]
    sweep = [*parse(space), *(o for o in parsed if not o.is_hydra_override())]
    if not str(hydra.sweeper.get("_target_")).endswith(".BasicSweeper"):
        fixed = [o.input_line or "" for o in parsed if not o.is_sweep_override()]
        c = config.typed(compose(name, overrides=fixed))
        _check_sampler(hydra.sweeper.get("sampler") or {}, sweep, c)
        _check_search(c, hydra.sweeper, command)
        return own, _ends(sweep)
    jobs = 1
    for o in sweep:
        if not o.is_sweep_override():
            continue
        if o.key_or_group in hydra.job.config.override_dirname.exclude_keys:
            raise UserError(
                f"{o.input_line} cannot be swept: the names of job folders leave this key out, so its jobs would "
                f"share a folder; to have the key in the names, type {EXCLUDED}=[]"
            )
        if o.is_interval_sweep():
            raise UserError(
                f"{o.input_line} is a range to search, and a grid needs values: type "
                f"{o.key_or_group}=range(first,end,step), or search the range with hydra/sweeper=optuna"
            )
        if not (values := _count(o)):
            raise UserError(f"{o.input_line} has no value, so the sweep has no job: type values, such as seed=1,2")
        jobs *= values
        if jobs > MOST_JOBS:
            raise UserError(
                f"{o.input_line} makes a sweep of {jobs} jobs or more: type fewer values, for at most {MOST_JOBS} jobs"
            )
    return own, hydra_private.grid_points(sweep)


def _count(o: Override) -> int:
    """Return the number of values of a sweep over one key."""
    value = o.value()
    if isinstance(value, RangeSweep):  # a list of them may not fit into memory
        assert value.start is not None and value.stop is not None
        return max(0, math.ceil((value.stop - value.start) / value.step))
    return len(list(o.sweep_iterator()))


def _check_launcher(launcher: DictConfig) -> None:
    jobs = launcher.get("n_jobs", 1)
    need(jobs != 0, "hydra.launcher.n_jobs", jobs, "1 or more jobs at once, or -1 for one a core")
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


def whole_numbers(refusal: str, overrides: Sequence[str]) -> str:
    """Return the override to type instead of a refused search over fractions, or nothing."""
    key = refusal.partition("=")[0]
    given = [o for o in overrides if o.startswith(f"{key}=interval(")]
    return f"; for whole numbers type {key}=int({given[0].partition('=')[2]})" if given else ""


def _check_sampler(sampler: Mapping[str, Any], sweep: Sequence[Override], c: Config) -> None:
    """Refuse a sampler of Optuna that cannot search this space, or cannot optimise several figures."""
    name, why = str(sampler.get("_target_")).rpartition(".")[2], ""
    ranges = [o for o in sweep if o.is_interval_sweep()]
    lists = [list(o.sweep_iterator()) for o in sweep if o.is_choice_sweep()]
    if name == "CmaEsSampler" and len(c.objective) > 1:
        why = "cmaes optimises one figure alone"
    elif name == "GridSampler" and (ranges or any(len({type(v) for v in values}) > 1 for values in lists)):
        why = "grid takes lists of values of one type, and no ranges"
    need(not why, "hydra/sweeper/sampler", why.partition(" ")[0], f"{why}; type hydra/sweeper/sampler=seeded")


def _check_search(c: Config, sweeper: DictConfig, command: str) -> None:
    """Refuse a search that fails after its first jobs, or that looks for the worst figures."""
    for key in ("n_trials", "n_jobs"):
        given = sweeper.get(key, 1)
        need(1 <= given <= MOST_JOBS, f"hydra.sweeper.{key}", given, f"from 1 to {MOST_JOBS}")
    need(sweeper.get("storage") is None, "hydra.sweeper.storage", sweeper.get("storage"),
         "null, because optuna 2 cannot open a storage, and a search goes on without one: type "
         "hydra.sweeper.storage=null")  # fmt: skip
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
            f"objective={costs[0]} is unknown for a checkpoint that is a file, because no file holds its cost: "
            "type checkpoint=<epoch>, or objective=[result.psnr,result.nfe]"
        )
    unknown = [o for o in c.objective if o in MEASURED]
    if unknown and not has_clean(c):
        raise UserError(f"objective={unknown[0]} needs a clean picture: type image.reference=<file>, or image=file")
    looks = [o for o in c.objective if o in LOOKS]
    if looks and not stlpips_weights():
        raise UserError(f"objective={looks[0]} needs the weights of ST-LPIPS: type {install('perceptual')}")
