"""The store: find, lock, extend and remove fits under one root folder. The name of a fit is the hash of its request."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from dipddpm.errors import UserError
from dipddpm.files import canonical, flat, write_json
from dipddpm.fits import manifest
from dipddpm.fits.manifest import Damaged, Fit

log = logging.getLogger(__name__)
R = TypeVar("R")
LEFT_BEHIND = 3600.0  # seconds after which the writer of a temporary file is taken for dead


def fit_key(request: dict[str, Any]) -> str:
    """Return the name of a fit: 16 hexadecimal digits over the canonical JSON of its request."""
    return hashlib.sha256(canonical(request).encode()).hexdigest()[:16]


class FitStore:
    """A root folder of fits.

    Readers see only whole fits: files are renamed into place, and the manifest lists all of them with their hashes.

    A lock keeps two processes from making the same fit twice. It is a lock of the operating system, which ends with its
    owner. On a file system without locks two processes may mix their epochs; the hashes reveal that, and the fit is
    made again.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def folder(self, key: str) -> Path:
        return self.root / key

    def find(self, key: str) -> Fit | None:
        """Return the verified fit of that name, or None.

        Raises:
            Damaged: When a file of the stored fit is truncated, altered or missing.
        """
        return manifest.read(self.folder(key))

    def obtain(
        self,
        request: dict[str, Any],
        choose: Callable[[Fit], R | None],
        work: Callable[[Path, str, Fit | None], None],
    ) -> tuple[Fit, R, bool]:
        """Return the fit of a request. A missing or too short fit is made or extended first.

        Args:
            request: The values that determine the fit; their hash is the key.
            choose: A function of the fit. It returns the caller's choice, or None while the fit is too short for it.
            work: A function that makes or extends the fit, called with folder, key, and the fit so far or None.

        Returns:
            The fit, the choice, and whether ``work`` was called.

        Raises:
            RuntimeError: When ``work`` left a fit that is still too short.
        """
        key = fit_key(request)
        try:
            if (fit := self.find(key)) and (chosen := choose(fit)) is not None:
                return fit, chosen, False
        except Damaged:
            pass  # reported and mended below, under the lock
        with self.lock(key):
            try:
                fit = self.find(key)
            except Damaged as error:
                log.warning("%s: the fit is removed and made again", error)
                self._delete(key)
                fit = None
            if fit and (chosen := choose(fit)) is not None:
                return fit, chosen, False
            folder = self.folder(key)
            _sweep_out(folder)
            if fit is None:
                write_json(folder / "fit.json", request)
            work(folder, key, fit)
            fit = self.find(key)
            chosen = choose(fit) if fit else None
        if fit is None or chosen is None:
            raise RuntimeError(f"the fit {key} is still too short after fitting")
        return fit, chosen, True

    def stored(self, request: dict[str, Any], choose: Callable[[Fit], R | None], command: str) -> tuple[Fit, R]:
        """Return the fit of a request and the choice, without making or extending the fit.

        Args:
            request: The values that determine the fit.
            choose: A function of the fit, as for `obtain`.
            command: The command that makes or extends the fit, for the refusal.

        Raises:
            UserError: When the fit is missing, damaged or too short. The line names the nearest stored fit.
        """
        key = fit_key(request)
        try:
            fit = self.find(key)
        except Damaged as error:
            raise UserError(f"fit=never, but {error}: to make it again, type {command}") from error
        chosen = choose(fit) if fit else None
        if fit is not None and chosen is not None:
            return fit, chosen
        if fit is not None:
            raise UserError(f"fit=never, but the fit {key} ends at epoch {fit.epochs}: to extend it, type {command}")
        near = "nothing is stored"
        if nearest := self.nearest(request):
            differ = ", ".join(f"{k} {have} instead of {want}" for k, (have, want) in nearest[1].items())
            near = f"the nearest fit, {nearest[0]}, has {differ}"
        raise UserError(f"fit=never, but the fit {key} is not in {self.root}: {near}; to make it, type {command}")

    @contextmanager
    def lock(self, key: str, *, wait: bool = True) -> Iterator[None]:
        """Hold the fit's lock inside the block; log a line when another process holds it.

        Raises:
            filelock.Timeout: When another process holds the lock and ``wait`` is false.
            UserError: When the root folder cannot be written.
        """
        lock = FileLock(self.root / f".{key}.lock")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise
            log.info("another process is fitting %s: waiting for it", key)
            lock.acquire()
        except OSError as error:
            raise UserError(f"store={self.root} cannot be written ({error.strerror}): type store=<folder>") from error
        try:
            yield
        finally:
            lock.release()

    def keys(self) -> list[str]:
        """Return the names of all fits of the store, the oldest first, unfinished and damaged ones included."""
        if not self.root.is_dir():
            return []
        folders = [p for p in self.root.iterdir() if (p / "fit.json").is_file()]
        return [p.name for p in sorted(folders, key=lambda p: (p / "fit.json").stat().st_mtime)]

    def remove(self, key: str) -> None:
        """Delete a fit.

        Raises:
            filelock.Timeout: When another process is making or extending the fit.
        """
        with self.lock(key, wait=False):
            self._delete(key)

    def _delete(self, key: str) -> None:
        folder = self.folder(key)
        (folder / "manifest.json").unlink(missing_ok=True)  # first, so that a half-deleted fit is not read
        shutil.rmtree(folder, ignore_errors=True)

    def nearest(self, request: dict[str, Any]) -> tuple[str, dict[str, tuple[Any, Any]]] | None:
        """Return the stored fit whose request differs in the fewest keys.

        Returns:
            The name of the fit and {dotted key: (stored value, wanted value)}, or None for an empty store.
        """
        wanted = flat(request)
        best: tuple[str, dict[str, tuple[Any, Any]]] | None = None
        for key in self.keys():
            try:
                stored = flat(json.loads((self.folder(key) / "fit.json").read_text()))
            except (OSError, ValueError):
                continue
            names = stored.keys() | wanted.keys()
            differ = {n: (stored.get(n), wanted.get(n)) for n in sorted(names) if stored.get(n) != wanted.get(n)}
            if best is None or len(differ) < len(best[1]):
                best = key, differ
        return best

    def record_use(self, key: str, folder: Path) -> None:
        """Note in the fit's uses.txt that the run in ``folder`` uses the fit; log a warning where that fails.

        Two lines are appended in one write: the path of the folder, and its path relative to the store. The second one
        stays right when store and run are moved or copied together.
        """
        path = folder.resolve()
        lines = f"{path}\n{os.path.relpath(path, self.root.resolve())}\n"
        try:
            with (self.folder(key) / "uses.txt").open("ab+") as file:
                cut = (
                    file.tell() > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n"
                )  # a full disk cut the last line
                file.write((b"\n" if cut else b"") + lines.encode())
        except OSError as error:
            log.warning("the fit's list of uses could not be written: %s", error)

    def record_summary(self, key: str, summary: dict[str, Any]) -> None:
        """Write the epochs of peak, crossing and rules beside a fit, for people; log a warning where that fails."""
        try:
            write_json(self.folder(key) / "summary.json", summary)
        except OSError as error:
            log.warning("the fit's summary could not be written: %s", error)

    def uses(self, key: str) -> list[Path]:
        """Return the existing folders of runs that use a fit."""
        try:
            lines = (self.folder(key) / "uses.txt").read_text().splitlines()
        except FileNotFoundError:
            return []
        paths = [(self.root / line).resolve() for line in lines if line]
        kept = {of["sha256"] for of in manifest.files_of(self.folder(key)).values()}
        return [p for p in dict.fromkeys(paths) if p.is_dir() and _still_uses(p, key, kept)]


def _still_uses(run: Path, key: str, kept: set[str]) -> bool:
    """Return whether the run in a folder uses a fit or one of its kept files. After a second run it may not."""
    try:
        metrics = json.loads((run / "metrics.json").read_text())
        fit = metrics.get("fit")
        return fit["key"] == key if fit else metrics.get("inputs", {}).get("checkpoint") in kept
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True  # the run has not ended


def _sweep_out(folder: Path) -> None:
    """Remove half-written files of killed processes, which can take megabytes.

    Recent files stay: on a file system without locks another process may be writing them.
    """
    for pattern in (".fit.json.*.tmp", ".manifest.json.*.tmp", ".curves-*.tmp", ".state-*.tmp", "epochs/.*.tmp"):
        for path in folder.glob(pattern):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > LEFT_BEHIND:
                    path.unlink()
