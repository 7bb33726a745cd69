"""Refuse a job that cannot run, before any work. Imports no torch.

The parts that read pictures and kept epochs are imported when a file is read: numpy and PIL take a tenth of the time in
which ``--cfg job`` and most refusals answer.

The command line inspects every job of a sweep. Both runs inspect their own job too, for callers from Python.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from dipddpm.config.checkpoint import parse
from dipddpm.config.degradation_ranges import check_given, check_sides, enlarged, magnification
from dipddpm.config.ranges import check_halvings, check_levels, check_memory
from dipddpm.config.schema import Config, is_own_jpeg, kernel_of, mask_of, reference_of
from dipddpm.config.start_error import check_error
from dipddpm.diffusion import folder as prior_folder
from dipddpm.diffusion import layout
from dipddpm.errors import UserError, need, typed_as
from dipddpm.files import expanded
from dipddpm.names import LOOKS, STLPIPS_SMALLEST
from dipddpm.runs.folder import is_many, pictures_of

if TYPE_CHECKING:
    from dipddpm.fits.manifest import KeptFile

P = ParamSpec("P")
R = TypeVar("R")
Seen = dict[tuple[str, ...], object]  # the result of each check, by its name and arguments
_FILES: Seen = {}  # the results about files in this process: a run need not decode what its command line decoded


def inspect(c: Config, command: str, seen: Seen | None = None) -> None:
    """Refuse a job that cannot run, because of its settings or of the files that it names.

    Args:
        c: The configuration, checked by `dipddpm.config.compose.typed`.
        command: ``fit`` or ``sample``.
        seen: The findings of the sweep's jobs before, so that each file is read once. New findings are added.

    Raises:
        UserError: One line: the value given, the values allowed, the override to type.
    """
    inspect_settings(c, command)
    try:
        _Look(c, command, {} if seen is None else seen).at_all()
    except (OSError, RuntimeError) as error:  # no permission, a long name, an unknown ~user
        raise UserError(f"a file or folder of the configuration cannot be read: {error}; type another path") from error


def inspect_settings(c: Config, command: str) -> None:
    """Refuse a fit where ``checkpoint`` needs none, and a window that needs an unknown error. Reads no file.

    Raises:
        UserError: One line: the value given, and the override to type.
    """
    if not c.image.path:
        from dipddpm.pictures import read

        way_out = "<folder>" if is_many(c) else f"<file> or image.path={read.BUILT_IN}"
        raise UserError(f"image.path= names no picture: type image.path={way_out}")
    start = parse(c.checkpoint)
    if command == "sample":
        check_error(c)
        if start.kind == "none" and c.ddpm.consistency.name == "dip":
            raise UserError(
                "ddpm.consistency=dip needs a DIP that goes on learning, and checkpoint=none fits none: type "
                "checkpoint=stop, or ddpm.consistency=auto"
            )
    elif start.kind == "none":
        raise UserError(
            "checkpoint=none needs no DIP, and train_dip.py fits a DIP: type "
            f"{typed_as('sample.py')}, or checkpoint=stop"
        )
    elif start.kind == "file":
        raise UserError(
            f"checkpoint={c.checkpoint} is a picture of an earlier fit, and train_dip.py makes a fit: type "
            f"{typed_as('sample.py')}, or checkpoint=stop"
        )


def inspect_size(c: Config, size: int) -> None:
    """Refuse settings that the size of the picture does not allow.

    Args:
        c: The configuration, checked.
        size: Pixels a side; the prior's size for ``image.size=auto``.

    Raises:
        UserError: One line that names the key.
    """
    if parse(c.checkpoint).fits:
        check_halvings(c.dip, size)
    check_memory(c, size)
    check_sides(c, size)
    looks = [o for o in c.objective if o in LOOKS]
    need(not looks or size >= STLPIPS_SMALLEST, "image.size", size,
         f"{STLPIPS_SMALLEST} or more for objective={''.join(looks[:1])}")  # fmt: skip


class _Look:
    """The inspection of one job's files. ``seen`` maps each check and its arguments to the check's result."""

    def __init__(self, c: Config, command: str, seen: Seen):
        self.c, self.command, self.seen = c, command, seen

    def _once(self, look: Callable[P, R], *given: P.args, **named: P.kwargs) -> R:
        stamp = _stamp(given[0])
        seen, key = _FILES if stamp else self.seen, (look.__qualname__, *map(str, (*given, *named.items())), *stamp)
        if key not in seen:
            seen[key] = look(*given, **named)
        return cast(R, seen[key])

    def at_all(self) -> None:
        c = self.c
        if is_many(c):
            self._at_many(self._at_others())
            return
        given = self._at_picture(c)
        check_given(c, given, self._at_others())

    def _at_many(self, size: int) -> None:
        """Refuse a folder without a picture that can be restored. The search ends at the first one that can be."""
        from dipddpm.pictures import read

        c, refused, pictures = self.c, None, pictures_of(self.c)
        if mask := mask_of(c):
            self._once(read.check, mask, c.image.box, "operator.file")
        for one in pictures:
            try:
                check_given(one, self._at_picture(one), size)
                return
            except UserError as error:
                refused = refused or error
        raise UserError(f"image.path={c.image.path}: none of its {len(pictures)} pictures can be restored; {refused}")

    def _at_picture(self, c: Config) -> tuple[int, int]:
        """Check the files of one picture, and return its width and height after cutting."""
        from dipddpm.pictures import masks, read

        given = self._once(read.check, c.image.path, c.image.box)
        times = magnification(c)
        if reference := reference_of(c):
            clean = self._once(read.check, reference, enlarged(c.image.box, times), "image.reference")
            read.check_same(clean, given, times=times)
        if mask := mask_of(c):
            self._once(masks.check, mask, c.image.box, given)
        if is_own_jpeg(c):
            from dipddpm.pictures import jpegs

            self._once(jpegs.tables, c.image.path)
        return given

    def _at_others(self) -> int:
        """Check all else, and return the pixels a side of the restored pictures."""
        self._at_store()
        size = self._at_prior()
        self._at_checkpoint(size)
        inspect_size(self.c, size)
        if kernel := kernel_of(self.c):
            from dipddpm.pictures import kernels

            self._once(kernels.check, kernel, size)
        return size

    def _at_checkpoint(self, size: int) -> None:
        file = parse(self.c.checkpoint).file
        if file is None:
            return
        if not file.is_file():
            raise UserError(
                f"checkpoint={self.c.checkpoint}: no such file; type stop, last, oracle, an epoch, or the path of a "
                f"kept epoch, such as {self.c.store}/<key>/epochs/000250.safetensors"
            )
        kept = self._once(check_kept_file, file, (size, size))
        if self.command == "sample" and self.c.ddpm.consistency.name == "dip" and kept.fit is None:
            raise UserError(
                f"ddpm.consistency=dip needs the settings of the DIP, and checkpoint={self.c.checkpoint} is no file of "
                f"a stored fit: type checkpoint={self.c.store}/<key>/epochs/<file>, or ddpm.consistency=auto"
            )

    def _at_store(self) -> None:
        store = expanded(self.c.store).absolute()
        in_the_way = next((p for p in (store, *store.parents) if os.path.lexists(p) and not p.is_dir()), None)
        if in_the_way is not None:
            raise UserError(f"store={self.c.store} is not allowed: {in_the_way} is no folder; type store=<folder>")
        try:
            store.lstat()
        except FileNotFoundError:
            pass  # the first fit makes it
        except OSError as error:  # such as a name that is too long
            raise UserError(f"store={self.c.store} is not allowed ({error.strerror}): type store=<folder>") from error

    def _at_prior(self) -> int:
        """Check the prior's files, and return the pixels a side of the picture."""
        p, given, fit = self.c.prior, self.c.image.size, self.command == "fit"
        size = given if isinstance(given, int) else None
        if fit and size is not None and prior_folder.local(p.name, p.path, p.repo) is None and p.repo:
            return size  # a fit with a given image.size reads no file of the prior
        folder = self._once(prior_folder.resolve, p.name, p.path, p.repo, p.revision, config_only=fit, ahead=True)
        if size is None or not fit:
            own = self._once(layout.sample_size, folder)
            size = own if size is None else size
        if not fit:
            self._once(layout.check_size, folder, size)
            check_levels(self.c.ddpm, self._once(layout.levels, folder))
        return size


def check_kept_file(path: Path, size: tuple[int, int] | None) -> KeptFile:
    """Return the facts of a file given as ``checkpoint``; ``size`` is height and width of the noisy picture, if known.

    Raises:
        UserError: When the file is damaged, or is not the file of a kept epoch of that size.
    """
    from dipddpm.fits.manifest import Damaged, check_file

    try:
        return check_file(path, size)
    except Damaged as error:
        raise UserError(
            f"checkpoint={path} cannot be used: {error}; type checkpoint=stop, or the path of another kept epoch"
        ) from error


def _stamp(path: object) -> tuple[str, ...]:
    """Return values that change with the content of a picture's file; empty for anything else."""
    file = os.path.abspath(os.path.expanduser(path)) if isinstance(path, str) else ""  # kept files have a manifest, too
    if not os.path.isfile(file):
        return ()
    facts = os.stat(file)
    return file, str(facts.st_ino), str(facts.st_size), str(facts.st_mtime_ns)
