"""Write files whole or not at all, hash them, and bring JSON values into one form."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which replaces ``path`` when the block ends.

    When the block raises, ``path`` stays as it was and the temporary file is removed. The bytes are flushed to the disk
    before the replacement. A power cut therefore leaves the old file or the new one, and a late error of the file
    system, such as a full disk, is raised here. The file gets the permissions of any new file.

    Raises:
        OSError: When the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    temporary.touch(exist_ok=False)
    mode = temporary.stat().st_mode  # from the user's umask
    try:
        yield temporary
        temporary.chmod(mode)  # safetensors writes files that only their owner can read
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, whole or not at all.

    Raises:
        ValueError: When ``value`` holds NaN or infinity.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def canonical(value: object) -> str:
    """Return the canonical JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping as a flat dict with dotted names."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        out |= flat(value, f"{key}.") if isinstance(value, Mapping) else {key: value}
    return out


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_kept_file(checkpoint: object) -> bool:
    """Return whether ``checkpoint`` is the path of a kept epoch's file: neither a word nor a number."""
    return str(checkpoint).endswith(".safetensors")


def link(path: Path, target: Path) -> None:
    """Make ``path`` a relative symbolic link to ``target``. An older file or link at ``path`` is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(os.path.relpath(target.resolve(), path.parent.resolve()))
