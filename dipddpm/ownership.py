"""Tell the files that this project wrote into a folder from those of others, by a record of their names.

A user may name any folder for the files of a run, also one that holds a web page or another program's results. The
record ``.dipddpm.json`` is written before any file that it names. A file that the record does not name is never
replaced or removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from dipddpm.errors import UserError
from dipddpm.files import read_json, write_json

RECORD = ".dipddpm.json"


def claim(folder: Path, names: Iterable[str], advice: str, *, lock: str, older: Iterable[str] = ()) -> None:
    """Record names of files that this project is about to write into a folder.

    Args:
        folder: The folder, which may be missing.
        names: Names of the files.
        advice: The end of the refusal: the override to type, or what else to do.
        lock: The lock file that versions without a record left in their folders. Where it stands without a record, the
            names, and all files that match ``older``, are taken for this project's.
        older: Patterns of names.

    Raises:
        UserError: When the folder holds a file, folder or link of such a name that this project did not write.
        OSError: When the record cannot be written.
    """
    names, known = set(names), claimed(folder)
    if known is None:
        known = set()
        if os.path.lexists(folder / lock):
            known = names | {n for n in os.listdir(folder) if any(fnmatchcase(n, p) for p in older)}
    for name in sorted(names - known):
        if os.path.lexists(folder / name):
            raise UserError(f"{folder} holds {name}, which dipddpm did not write: {advice}")
    if not names <= known or not (folder / RECORD).exists():
        write_json(folder / RECORD, {"files": sorted(known | names)})


def claimed(folder: Path) -> set[str] | None:
    """Return the names of the files that this project wrote into a folder; None without a readable record.

    A record that came with a folder from elsewhere may name files outside the folder: these names do not count.
    """
    try:
        return {name for name in map(str, read_json(folder / RECORD)["files"]) if os.path.basename(name) == name}
    except (OSError, ValueError, KeyError, TypeError):
        return None
