"""What a user can get wrong."""

from __future__ import annotations


class UserError(ValueError):
    """A request that cannot be met: one line that says what was given, what is allowed, what to type.

    The entry points print it and leave with exit code 2. Inside a sweep it is an ordinary exception,
    so that the other jobs go on.
    """
