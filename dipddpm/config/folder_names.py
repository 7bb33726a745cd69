"""The readable name of a job's folder in a sweep."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

LONGEST = 120  # characters of the readable part; file systems allow 255 in all
LONG_WORD = 24  # characters; a longer word of a key that is not swept comes last and may be cut


def job_slug(
    overrides: Sequence[str],
    command: str = "sample",
    ignored: Sequence[str] = (),
    swept: Iterable[str] = (),
    sweep: str | Path | None = None,
) -> str:
    """Return a folder name for a job from its overrides: ``start_t=50,layers=4-a6b597c2``.

    The readable part has the last word of each key: first of the swept keys, then of the others, long words last. The
    hash is over the sorted overrides. It depends on the job alone: it stays the same when the grid grows. A folder of
    the sweep with the job's hash keeps its name, whatever was swept when it was made.

    Args:
        overrides: The overrides as typed, such as ``["dip.layers=4", "ddpm.start_t=50"]``.
        command: The entry point's command. A command other than ``sample`` stands in the name, so that one folder can
            hold the jobs of both.
        ignored: Keys that do not change the result, such as ``threads``. They stay out of the name.
        swept: The keys that the sweep varies.
        sweep: The folder of the sweep, where jobs of earlier commands may be; None where there are none.
    """
    texts = sorted(text for o in overrides if _key(text := str(o)) not in ignored)
    own = [] if command == "sample" else [command]
    digest = hashlib.sha256(os.fsencode("\n".join([*own, *texts]))).hexdigest()[:8]
    first, words = set(swept), []
    for text in texts:
        key, _, value = text.lstrip("+~").partition("=")
        word = f"{key.split('.')[-1]}={value.rsplit('/', 1)[-1]}"
        words.append((key not in first, key not in first and len(word) > LONG_WORD, word))
    listed = [word for *_, word in sorted(words)] or ["defaults"]
    readable = re.sub(r"[^A-Za-z0-9.,=_+-]", "_", ",".join([*own, *listed]))[:LONGEST]
    return _made_before(sweep, digest) or f"{readable}-{digest}"


def swept_keys(overrides: Sequence[str], params: Iterable[str] | None) -> list[str]:
    """Return the keys that a sweep varies, from its overrides as typed and ``hydra.sweeper.params``."""
    typed = [str(text) for text in overrides]
    try:
        parsed = OverridesParser.create().parse_overrides(typed)
    except HydraException:  # such as glob(*), which needs the folder of the configuration
        varied = {_key(text) for text in typed if re.search(r"[,(]", text)}
    else:
        varied = {o.key_or_group for o in parsed if o.is_sweep_override()}
    return sorted(varied | {str(key) for key in params or ()})


def _made_before(sweep: str | Path | None, digest: str) -> str | None:
    """Return the name of the job's folder in a sweep, or None."""
    try:
        found = [name for name in os.listdir(sweep) if name.endswith(f"-{digest}")] if sweep else []
    except OSError:  # the first job makes the folder
        return None
    return min(found, default=None)


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]
