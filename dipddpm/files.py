"""Read regular files, write files whole or not at all, lock and hash them, and bring JSON values into one form."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dipddpm.errors import UserError

log = logging.getLogger(__name__)
HALF_WRITTEN = re.compile(r"\.(.+)\.\d+-[0-9a-f]{8}\.tmp")  # the names that `replacing` gives
NO_FILE = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO)  # a loop of links, a file as a folder, a socket
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def open_file(path: Path) -> io.BufferedReader:
    """Open a regular file for reading. Unlike `open`, the function never waits for the other end of a pipe.

    Raises:
        ValueError: When a folder, a pipe, a device or a loop of links stands in place of the file.
        OSError: When there is no file, or it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in NO_FILE:
            raise ValueError(f"{path} is no file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path} is no file")
    return os.fdopen(descriptor, "rb")


def expanded(path: str | Path) -> Path:
    """Return a path with ``~`` expanded. ``~me`` stays where there is no user of that name, as in a shell."""
    return Path(os.path.expanduser(path))


def printable(value: object) -> str:
    """Return the text of a value, with ``\\udc..`` for the bytes of a file name that are not UTF-8."""
    return str(value).encode(errors="backslashreplace").decode()


@contextmanager
def utf8_path(path: Path) -> Iterator[str]:
    """Yield a path of an existing file or folder for a library that takes paths in UTF-8 only."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        yield str(path)


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, without a byte order mark; errors are those of `open_file`."""
    with open_file(path) as file:
        return file.read().decode("utf-8-sig")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        ValueError: When the file holds no JSON object, or is no regular file.
        OSError: When there is no file, or it cannot be read.
    """
    return parse_json(read_text(path))


def parse_json(text: str) -> dict[str, Any]:
    """Return the object in a JSON text; raise a ValueError for anything else, also where it is nested too deeply."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"holds a {type(value).__name__}")
    return value


def read_yaml(path: Path) -> Any:
    """Return the value in a YAML file without aliases, which could multiply; errors are those of `read_json`."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is 10 times faster
    text = read_text(path)
    try:
        if "*" in text and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, loader)):
            raise ValueError(f"{path}: YAML with aliases")
        return yaml.load(text, loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path} holds no YAML") from error


def write_any_name(*streams: object) -> None:
    """Let streams, or the terminal's, write file names that are not text in their encoding, as ``\\udc..``."""
    for stream in streams or (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all. Bytes of a file name that are not UTF-8 become ``\\udc..``."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, whole or not at all.

    Raises:
        ValueError: When ``value`` holds NaN or infinity.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def half_written(folder: Path, names: Iterable[str]) -> list[Path]:
    """Return the half-written files that killed processes left in a folder.

    Args:
        folder: The folder; it may be missing.
        names: Patterns of the names that the files would have had.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        found = [(Path(entry), HALF_WRITTEN.fullmatch(entry.name)) for entry in entries]
        return [path for path, name in found if name and any(fnmatchcase(name[1], pattern) for pattern in names)]
    return []


def remove(path: Path) -> None:
    """Remove a file, a folder with its content, or a link, whose target stays. Nothing happens where there is none.

    Raises:
        OSError: When the path cannot be removed.
    """
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def locked(path: Path, key: str, waiting: str | None = None, timeout: float = 0) -> Iterator[None]:
    """Hold a lock of the operating system inside the block. The lock ends with its owner; its file stays.

    Args:
        path: The lock file. A link is never followed.
        key: The key of the configuration that names the folder of the lock file, for refusals.
        waiting: The line to log while another process holds the lock for longer than ``timeout``. None: no more wait.
        timeout: Seconds to wait.

    Raises:
        filelock.Timeout: When another process holds the lock, and ``waiting`` is None.
        UserError: When the folder cannot be written, or its file system has no locks.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # made here, with the permissions of any new file: a group can share it
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        lock = FileLock(path, mode=stat.S_IMODE(path.lstat().st_mode))
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            if waiting is None:
                raise
            log.info("%s", waiting)
            lock.acquire()
    except Timeout:
        raise
    except OSError as error:
        why = "cannot be written"
        if error.errno in NO_LOCKS:
            why = "is on a file system without locks, and two jobs could write one file"
        elif error.errno == errno.ELOOP:
            why = f"holds a link in place of {path.name}"
        raise UserError(f"{key}={path.parent} {why} ({error.strerror}): type {key}=<folder>") from error
    try:
        yield
    finally:
        lock.release()


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
    """Return the SHA-256 of a file, in hexadecimal; errors are those of `open_file`."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def facts(path: Path) -> dict[str, Any]:
    """Return the SHA-256 and the size in bytes of a file, as records of files hold them."""
    return {"sha256": sha256(path), "bytes": path.stat().st_size}


def is_kept_file(checkpoint: object) -> bool:
    """Return whether ``checkpoint`` is the path of a kept epoch's file: neither a word nor a number."""
    return str(checkpoint).endswith(".safetensors")


def link(path: Path, target: Path) -> None:
    """Make ``path`` a relative symbolic link to ``target``. An older file or link is replaced, a folder is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or not path.is_dir():  # a copied sweep may hold folders in place of its links
        path.unlink(missing_ok=True)
        path.symlink_to(os.path.relpath(target.resolve(), path.parent.resolve()))
