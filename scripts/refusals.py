"""Bad input of a script in one line with exit code 2, as of the entry points."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dipddpm.errors import UserError


@contextmanager
def refusals() -> Iterator[None]:
    """Leave with one line where a `UserError` is raised."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
