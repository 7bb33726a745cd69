"""The pictures of a job: one, or with ``image=folder`` all of a folder or of a pattern. Imports no torch."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dipddpm.config.schema import Config, FolderImage, of_picture
from dipddpm.errors import UserError
from dipddpm.files import expanded

LONGEST = 200  # bytes of a result's name without its suffix; file systems allow 255 in all


def is_many(c: Config) -> bool:
    """Return whether a job restores the pictures of a folder or of a pattern."""
    return isinstance(c.image, FolderImage)


def pictures_of(c: Config) -> list[Config]:
    """Return the configuration of each picture of a job, as a job of this picture alone has it.

    Raises:
        UserError: When a folder or a pattern has no file with the suffix of a picture.
    """
    if not is_many(c):
        return [c]
    return [of_picture(c, str(path)) for path in listed(c.image.path)]


def listed(path: str) -> list[Path]:
    """Return the files of a folder or of a pattern that have the suffix of a picture, sorted. Hidden ones are left out.

    Raises:
        UserError: When there is none.
    """
    from dipddpm.pictures.decode import SUFFIXES  # late: numpy and PIL
    from dipddpm.pictures.read import nearest

    base, ends = expanded(path), tuple(end for of_kind in SUFFIXES.values() for end in of_kind)
    found = base.iterdir() if base.is_dir() else map(Path, glob.glob(str(base), recursive=True))
    pictures = [p for p in found if p.suffix.lower() in ends and not p.name.startswith(".") and not p.is_dir()]
    if not pictures and not os.path.lexists(base) and not glob.has_magic(str(base)):
        near = nearest(base, folder=True)
        hint = f"did you mean {near}?" if near else "type image.path=<folder>"
        raise UserError(f"image.path={path} does not exist: {hint}")
    if not pictures:
        raise UserError(
            f"image.path={path} has no pictures: give a folder, or a pattern such as 'faces/*.png', with names that "
            f"end in {', '.join(ends)}"
        )
    return sorted(pictures, key=str)


def result_names(paths: Sequence[str]) -> list[str]:
    """Return a name for the result of each picture: that of its file, ending in ``.png``. Names that clash get numbers.

    A name that only one picture has stays without a number, whatever other pictures there are. The end of a long name
    is cut off: a file that is being written has a longer name.
    """
    stems = [_short(Path(path).stem) for path in paths]
    count, names = Counter(stems), set(stems)
    for i, stem in enumerate(stems):
        if count[stem] > 1:
            number = next(n for n in range(1, len(stems) + 2) if f"{stem}-{n}" not in names)
            stems[i] = f"{stem}-{number}"
            names.add(stems[i])
    return [f"{stem}.png" for stem in stems]


def _short(stem: str) -> str:
    encoded = os.fsencode(stem)
    return stem if len(encoded) <= LONGEST else encoded[:LONGEST].decode(errors="ignore")
