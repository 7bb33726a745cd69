"""Keys whose value is text take the text as typed: ``store=2026_11_27`` is no number. Imports no torch.

Hydra reads a value before it knows the type of its key: ``1_2`` is 12, ``5e7`` is 50000000.0, and ``~/me (1).png``
cannot be read. This module puts such a value in quotes, which Hydra keeps. It expands ``~``, as a shell does.
"""

from __future__ import annotations

import os
import re

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, Quote, QuotedString
from hydra.errors import HydraException

from dipddpm.config.compose import leaves
from dipddpm.config.schema import Config

NUMBER_TOO = "checkpoint"  # an epoch, a word or a path
TEXTS = {
    NUMBER_TOO,
    "experiment",
    *(key for shape, prefix in ((Config, ""), (HydraConf, "hydra.")) for key, kind in leaves(shape, prefix)
      if kind in (str, str | None)),
}  # fmt: skip
PIECE = re.compile(r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}|\\.|[^,])+""")


def as_typed(override: str, sweep: bool) -> str:
    """Return an override with its text in quotes, where Hydra would read a number or nothing.

    Args:
        override: One argument of the command line.
        sweep: Whether commas separate the values of a sweep. Otherwise they are part of a text that Hydra cannot read.
    """
    key, equals, value = override.partition("=")
    if not equals or key.lstrip("+") not in TEXTS:
        return override
    return f"{key}={_quoted(key, value, sweep)}"


def _quoted(key: str, value: str, sweep: bool) -> str:
    parsed = _parsed(key, value)
    found = parsed.value() if parsed else None
    if parsed is None and sweep and len(pieces := PIECE.findall(value)) > 1:
        return ",".join(_quoted(key, piece, False) for piece in pieces)
    if isinstance(found, ChoiceSweep) and (inner := re.fullmatch(r"(choice\()?(.*?)(\))?", value, re.DOTALL)):
        pieces = PIECE.findall(inner[2])
        if len(pieces) == len(found.list) and bool(inner[1]) is bool(inner[3]):  # Hydra drops the quotes in choice()
            return ",".join(_quoted(key, piece, False) for piece in pieces)
        return value
    number = isinstance(found, int | float) and not (type(found) is int and key.lstrip("+") == NUMBER_TOO)
    text = found if isinstance(found, str) else value
    if parsed is None or number or text.startswith("~"):
        return QuotedString(os.path.expanduser(text), Quote.single).with_quotes()
    return value


def _parsed(key: str, value: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(f"{key}={value}")
    except HydraException:
        return None
