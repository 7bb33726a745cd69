"""The command line of ``train_prior.py``, checked before any work."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra

from dipddpm.cli.explain import explained
from dipddpm.errors import UserError
from prior_training.settings import CONF, Settings, typed


@contextmanager
def refusals() -> Iterator[None]:
    """Print a `UserError` of the block in one line, and leave with exit code 2."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def check_arguments(argv: Sequence[str]) -> None:
    """Compose and check a command of ``train_prior.py``.

    Args:
        argv: The arguments without the program's name.

    Raises:
        UserError: One line: the value given, the values allowed, the override to type.
    """
    args, unread = get_args_parser().parse_known_args(list(argv))
    if args.multirun:
        raise UserError("-m is not allowed: type one command for each prior, without -m and with its own out=<folder>")
    if unread:
        raise UserError(f"{' '.join(unread)} cannot be read: type options such as --cfg first, then key=value")
    if args.help or args.hydra_help or args.info or args.cfg or args.shell_completion:
        return
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"), explained(args.overrides, Settings):
            typed(compose(args.config_name or "train_prior", overrides=args.overrides))
    finally:
        GlobalHydra.instance().clear()
