"""The readable name of a job's folder in a sweep."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence

LONGEST = 120  # characters of the readable part; file systems allow 255 in all
LONG_WORD = 24  # characters; a longer word, such as a path, comes last and may be cut


def job_slug(overrides: Sequence[str], command: str = "sample", ignored: Sequence[str] = ()) -> str:
    """Return a folder name for a job from its overrides: ``layers=4,start_t=50-a6b597c2``.

    The readable part has the last word of each key; long words come last. The hash is over the sorted overrides. The
    name depends on the job alone: it stays the same when the grid grows.

    Args:
        overrides: The overrides as typed, such as ``["dip.layers=4", "ddpm.start_t=50"]``.
        command: The entry point's command. A command other than ``sample`` stands in the name, so that one folder can
            hold the jobs of both.
        ignored: Keys that do not change the result, such as ``threads``. They stay out of the name.
    """
    texts = sorted(text for o in overrides if _key(text := str(o)) not in ignored)
    own = [] if command == "sample" else [command]
    digest = hashlib.sha256(os.fsencode("\n".join([*own, *texts]))).hexdigest()[:8]
    words = []
    for text in texts:
        key, _, value = text.lstrip("+~").partition("=")
        words.append(f"{key.split('.')[-1]}={value.rsplit('/', 1)[-1]}")
    words.sort(key=lambda word: (len(word) > LONG_WORD, word))
    readable = re.sub(r"[^A-Za-z0-9.,=_+-]", "_", ",".join([*own, *(words or ["defaults"])]))[:LONGEST]
    return f"{readable}-{digest}"


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]
