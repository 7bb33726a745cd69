"""Choices by name, to which a user can add: networks, stopping rules, inits, kinds of noise, operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar

from dipddpm.errors import suggestion

T = TypeVar("T")
R = TypeVar("R")


class Registry(dict[str, T]):
    """A dictionary from names to choices of one kind.

        NETWORKS = Registry("network")

        @NETWORKS.register("mine")
        class Mine(torch.nn.Module): ...

        NETWORKS["mine"]

    Args:
        kind: The noun for one choice, for error messages.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    @property
    def names(self) -> tuple[str, ...]:
        """The known names, in the order of their registration."""
        return tuple(self)

    def register(self, name: str) -> Callable[[R], R]:
        """Return a decorator that adds a choice under ``name`` and returns the choice unchanged.

        Raises:
            ValueError: When the name is taken.
        """
        if name in self:
            raise ValueError(f"the {self.kind} {name} exists already: register it under another name")

        def add(choice: R) -> R:
            self[name] = choice  # pyright: ignore[reportArgumentType]
            return choice

        return add

    def __missing__(self, name: str) -> NoReturn:
        known = ", ".join(self)
        raise ValueError(f"there is no {self.kind} {name}{suggestion(str(name), self)}; there are: {known}")
