"""The command line of ``train_prior.py``, checked before any work."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra import compose

from dipddpm.cli.explain import explained
from dipddpm.config import hydra_private
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
    try:
        args, unread = hydra_private.parse_arguments(argv)
    except ValueError as error:
        raise UserError(f"{error}; to see the options, type --help") from error
    if args.multirun:
        raise UserError("-m is not allowed: type one command for each prior, without -m and with its own out=<folder>")
    if unread:
        raise UserError(f"{' '.join(unread)} cannot be read: type options such as --cfg first, then key=value")
    if args.help or args.hydra_help or args.info or args.cfg or args.shell_completion:
        return
    with hydra_private.initialized(CONF, args.config_dir), explained(args.overrides, Settings):
        typed(compose(args.config_name or "train_prior", overrides=args.overrides))
