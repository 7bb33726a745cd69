"""What was typed, checked before any work: one line and exit code 2 for what cannot be.

Hydra answers a bad override with many lines and exit code 1, and composes a sweep's grid points one by
one as their turn comes. Here every grid point is composed and checked first, and the first thing wrong is
said in one line with exit code 2. Imports no torch.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from dipddpm import config, images
from dipddpm.errors import UserError, suggestion

CONF = Path(__file__).parents[1] / "conf"
MOST_REFUSALS = 5  # of a sweep's grid points, before the rest is only counted


def check_arguments(argv: Sequence[str] | None = None) -> None:
    """Compose and check what was typed, every grid point of a sweep included; leave with 2 if it is bad.

    Args:
        argv: The arguments without the program's name; None reads the command line.
    """
    config.register()
    args = get_args_parser().parse_args(None if argv is None else list(argv))
    if args.help or args.hydra_help or args.info or args.shell_completion:
        return
    refused: dict[str, str] = {}
    try:
        points = _grid(args.overrides) if args.multirun else [args.overrides]
        with initialize_config_dir(str(args.config_dir or CONF), version_base="1.3"):
            for point in points:
                try:
                    _check_point(args.config_name or "config", point, pictures=not args.cfg)
                except UserError as error:
                    refused.setdefault(str(error), " ".join(point))
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


def _grid(overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of every job of a sweep, as Hydra's basic sweeper splits them."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise UserError(_explain(error, overrides)) from error
    if any(o.key_or_group == "hydra/sweeper" for o in parsed):  # its points are not known beforehand
        return [[o.input_line or "" for o in parsed if not o.is_sweep_override()]]
    batches: Any = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return [list(point) for batch in batches for point in batch]


def _check_point(config_name: str, overrides: Sequence[str], pictures: bool) -> None:
    try:
        cfg = config.typed(compose(config_name, overrides=list(overrides)))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(error, overrides)) from error
    if pictures:
        images.check(cfg.image.path, cfg.image.box)
        if cfg.image.reference:
            images.check(cfg.image.reference, cfg.image.box, key="image.reference")


def _explain(error: Exception, overrides: Sequence[str]) -> str:
    """Return one line for what Hydra and omegaconf say in several."""
    text = str(error)
    cause = error.__cause__ or error.__context__
    if found := re.search(r"Could not override '([^']+)'", text):
        return config.unknown_key(found[1])
    if found := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        group, choice = found.groups()
        options = re.search(r"Available options in '[^']*':\s*((?:\n?\s*\S+)*?)\nConfig search path", text)
        names = options[1].split() if options else []
        near = suggestion(choice, names)
        return f"{group}={choice} is not a choice{near}; {group} is one of: {' '.join(names)}"
    if found := re.search(r"Error merging override (\S+)", text):
        reason = config.one_line(cause) if isinstance(cause, OmegaConfBaseException) else str(cause)
        return f"{found[1]} is not allowed: {' '.join(reason.split())}"
    if "Error parsing override" in text:
        lines = text.splitlines()
        return f"{lines[0]}: {lines[1] if len(lines) > 1 else ''}; overrides are key=value".strip()
    if isinstance(error, OmegaConfBaseException):
        return config.one_line(error)
    return f"{' '.join(overrides)}: {text.splitlines()[0]}"
