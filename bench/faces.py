"""The command line of the benches that sweep over a folder of faces, and their finished jobs."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipddpm.errors import UserError
from dipddpm.study import read_frame
from dipddpm.study.frame import keys_of
from dipddpm.study.labels import as_text


@dataclass(frozen=True)
class Finished:
    """A complete job: its folder, its values of all typed keys (without null values), and its metrics.json."""

    folder: Path
    overrides: dict[str, str]
    metrics: dict[str, Any]

    def figure(self, row: str, key: str) -> float | None:
        """Return a figure of metrics.json, or None."""
        return self.metrics.get(row, {}).get(key)


def arguments(description: str | None, out: str, *, named: bool = False) -> ArgumentParser:
    """Return a parser of the folder, the names of faces, the output folder, and overrides for every job.

    Args:
        description: The bench's docstring.
        out: Default folder of the sweeps and fits.
        named: Whether ``--names`` is required; otherwise all faces are used by default.
    """
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="folder of PNG faces, all of one size")
    every = "" if named else " (all)"
    parser.add_argument("--names", nargs="+", required=named, help=f"names of the faces, without .png{every}")
    parser.add_argument("--out", type=Path, default=Path(out), help=f"folder of sweeps and fits ({out})")
    parser.add_argument("--only-table", action="store_true", help="run nothing, print the table of finished jobs")
    parser.add_argument("--overrides", nargs="*", default=[], help="overrides for every job, such as threads=1")
    return parser


def parsed(parser: ArgumentParser) -> tuple[Namespace, list[Path]]:
    """Return the arguments, and the paths of the faces. Fewer than two faces are refused: they have no interval."""
    args = parser.parse_args()
    names = [args.pictures / f"{name}.png" for name in args.names or []]
    faces = names or sorted(args.pictures.glob("*.png"))
    if missing := [str(face) for face in faces if not face.is_file()]:
        parser.error(f"{missing[0]} does not exist: type names of faces in {args.pictures}")
    if len(faces) < 2:
        parser.error(f"{args.pictures}: faces given or found: {len(faces)}; a paired interval needs two or more")
    return args, faces


def finished(parser: ArgumentParser, out: Path) -> list[Finished]:
    """Return the complete jobs in ``out/jobs``."""
    try:
        return jobs_in(out / "jobs")
    except UserError as error:
        parser.error(str(error))


def jobs_in(sweep: Path) -> list[Finished]:
    """Return the complete jobs of a sweep."""
    frame = read_frame(sweep)
    frame = frame[frame["status"] == "complete"]
    keys = keys_of(frame)
    rows = zip(frame["job"], frame[keys].to_dict("records"), strict=True)
    return [
        Finished(
            sweep / job,
            {str(key): text for key, value in row.items() if (text := as_text(value)) != "null"},
            json.loads((sweep / job / "metrics.json").read_text(encoding="utf-8")),
        )
        for job, row in rows
    ]
