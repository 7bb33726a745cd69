"""The store: find, lock, extend and remove fits under one root folder. The name of a fit is the hash of its request."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import Timeout

from dipddpm.errors import UserError
from dipddpm.files import canonical, flat, locked, open_file, read_json, remove, write_json
from dipddpm.fits import manifest
from dipddpm.fits.manifest import Damaged, Fit

log = logging.getLogger(__name__)
R = TypeVar("R")
KEY = re.compile("[0-9a-f]{16}")
ELSEWHERE = "ask its owner for access, or type store=<another folder>"


def fit_key(request: dict[str, Any]) -> str:
    """Return the name of a fit: 16 hexadecimal digits over the canonical JSON of its request."""
    return hashlib.sha256(canonical(request).encode()).hexdigest()[:16]


class FitStore:
    """A root folder of fits.

    Readers see only whole fits: files are renamed into place, and the manifest lists all of them with their hashes.

    A lock keeps two processes from making the same fit twice. It is a lock of the operating system, which ends with its
    owner. Two machines that do not see the locks of each other may mix their epochs; the hashes reveal that, and the
    fit is made again.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def folder(self, key: str) -> Path:
        return self.root / key

    def find(self, key: str) -> Fit | None:
        """Return the verified fit of that name, or None.

        Raises:
            Damaged: When a file of the stored fit is truncated, altered or missing, or the fit has another key.
            UserError: When this user may not read the fit.
        """
        try:
            fit = manifest.read(self.folder(key))
        except PermissionError as error:
            raise UserError(f"{error.filename} may not be read ({error.strerror}): {ELSEWHERE}") from error
        if fit is not None and fit.key != key:
            raise Damaged(f"{self.folder(key)} holds the fit {fit.key}")
        return fit

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
            UserError: When this user may not read, extend or replace the stored fit.
        """
        if there := self.there(request, choose):
            return *there, False
        key, folder = fit_key(request), self.folder(fit_key(request))
        with self.lock(key):
            fit, chosen = self.prepare(request, choose)
            if fit is not None and chosen is not None:
                return fit, chosen, False
            work(folder, key, fit)
            fit = self.find(key)
            chosen = choose(fit) if fit else None
        if fit is None or chosen is None:
            raise RuntimeError(f"the fit {key} is still too short after fitting")
        return fit, chosen, True

    def there(self, request: dict[str, Any], choose: Callable[[Fit], R | None]) -> tuple[Fit, R] | None:
        """Return the fit of a request and the choice; None where the fit must be made, mended or extended first.

        Raises:
            UserError: When this user may not read the stored fit.
        """
        key = fit_key(request)
        with suppress(Damaged):  # reported and mended by `prepare`, under the lock
            if (fit := self.find(key)) and (chosen := choose(fit)) is not None:
                if manifest.left_over(self.folder(key)):
                    with suppress(Timeout, UserError):  # another process works on the fit, or it is another user's
                        self.tidy(key)
                return fit, chosen
        return None

    def prepare(self, request: dict[str, Any], choose: Callable[[Fit], R | None]) -> tuple[Fit | None, R | None]:
        """Return the fit so far and the choice, and make its folder ready for work where it is too short.

        The caller holds the lock of the fit. A damaged fit is removed.

        Raises:
            UserError: When this user may not read, extend or replace the stored fit.
        """
        key, folder = fit_key(request), self.folder(fit_key(request))
        try:
            fit = self.find(key)
        except Damaged as error:
            log.warning("%s: the fit is removed and made again", error)
            self._delete(key)
            fit = None
        if fit and (chosen := choose(fit)) is not None:
            return fit, chosen
        _check_writable(folder)
        _clear(folder)
        if fit is None:
            write_json(folder / "fit.json", request)
        return fit, None

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
            UserError: When the root folder cannot be written, or its file system has no locks.
        """
        waiting = f"another process is fitting {key}: waiting for it" if wait else None
        with locked(self.root / f".{key}.lock", "store", waiting):
            yield

    def keys(self) -> list[str]:
        """Return the names of all fits of the store, the oldest first, with unfinished, damaged and unreadable ones.

        Raises:
            OSError: When the root folder cannot be read.
        """
        try:
            names = [name for name in os.listdir(self.root) if KEY.fullmatch(name)]
        except FileNotFoundError:
            return []
        return sorted(names, key=lambda name: _changed(self.folder(name)))

    def remove(self, key: str) -> None:
        """Delete a fit. A link to a fit is deleted, and the fit stays.

        Raises:
            filelock.Timeout: When another process is making or extending the fit.
            UserError: When the fit cannot be deleted.
        """
        with self.lock(key, wait=False):
            self._delete(key)

    def _delete(self, key: str) -> None:
        folder = self.folder(key)
        try:
            if folder.is_dir() and not folder.is_symlink():
                remove(folder / "manifest.json")  # first, so that a half-deleted fit is not read
            remove(folder)
        except OSError as error:
            raise UserError(f"{folder} cannot be removed ({error.strerror}): {ELSEWHERE}") from error

    def tidy(self, key: str) -> None:
        """Remove the files that killed processes left in a fit.

        Raises:
            filelock.Timeout: When another process is making or extending the fit.
            UserError: When a file cannot be removed.
        """
        with self.lock(key, wait=False):
            try:
                for path in manifest.left_over(self.folder(key)):
                    remove(path)
            except OSError as error:
                raise UserError(f"{error.filename} cannot be removed ({error.strerror}): {ELSEWHERE}") from error

    def nearest(self, request: dict[str, Any]) -> tuple[str, dict[str, tuple[Any, Any]]] | None:
        """Return the stored fit whose request differs in the fewest keys.

        Returns:
            The name of the fit and {dotted key: (stored value, wanted value)}, or None for an empty store.
        """
        wanted = flat(request)
        best: tuple[str, dict[str, tuple[Any, Any]]] | None = None
        for key in self.keys():
            try:
                stored = flat(read_json(self.folder(key) / "fit.json"))
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
        stays right when store and run are moved or copied together. A line holds the bytes of a path, with a NUL, which
        no path holds, for each newline. A link in place of uses.txt is not followed.
        """
        path = folder.resolve()
        lines = [
            os.fsencode(p).replace(b"\n", b"\0") + b"\n" for p in (path, os.path.relpath(path, self.root.resolve()))
        ]
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            with os.fdopen(os.open(self.folder(key) / "uses.txt", flags, 0o666), "ab+") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise OSError(f"{file.name} is no file")
                size = file.seek(0, os.SEEK_END)
                cut = size > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n"  # by a full disk
                file.write(b"\n" * cut + b"".join(lines))
        except OSError as error:
            log.warning("the fit's list of uses could not be written: %s", error)

    def record_summary(self, key: str, summary: dict[str, Any]) -> None:
        """Write the epochs of peak, crossing and rules beside a fit, for people; log a warning where that fails."""
        try:
            write_json(self.folder(key) / "summary.json", summary)
        except OSError as error:
            log.warning("the fit's summary could not be written: %s", error)

    def uses(self, key: str) -> list[Path]:
        """Return the existing folders of runs that use a fit.

        Raises:
            PermissionError: When this user may not read the fit's list of uses.
        """
        try:
            with open_file(self.folder(key) / "uses.txt") as file:
                lines = file.read().split(b"\n")
        except (FileNotFoundError, ValueError):
            return []
        written = (os.fsdecode(line.replace(b"\0", b"\n")) for line in lines if line)
        runs = dict.fromkeys(os.path.realpath(self.root / path) for path in written)
        kept = {of.get("sha256") for of in manifest.files_of(self.folder(key)).values() if isinstance(of, dict)}
        return [Path(run) for run in runs if _may_be_a_folder(run) and _still_uses(Path(run), key, kept)]


def _changed(folder: Path) -> float:
    """Return the time of the last change of a fit's request, or of its folder."""
    for path in (folder / "fit.json", folder):
        with suppress(OSError):
            return path.lstat().st_mtime
    return 0.0


def _may_be_a_folder(path: str) -> bool:
    """Return whether a path is a folder, or lies in the folder of another user, where nobody else can tell."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except PermissionError:
        return True
    except (OSError, ValueError):  # gone, or a path that a damaged file made up
        return False


def _still_uses(run: Path, key: str, kept: Container[object]) -> bool:
    """Return whether the newest run in a folder uses a fit or one of its kept files. An earlier one may have."""
    try:
        metrics = read_json(run / "metrics.json")
        fit = metrics.get("fit")
        if not fit:
            return metrics.get("inputs", {}).get("checkpoint") in kept
        return key in {fit["key"], fit.get("second_fit"), *fit.get("keys", ()), *fit.get("second_fits", ())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True  # the run has not ended


def _check_writable(folder: Path) -> None:
    """Refuse to extend a fit in a folder that this user may not write, before any work."""
    for path in (folder, folder / "epochs"):
        if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
            raise UserError(f"the fit {folder.name} is too short, and {path} may not be written: {ELSEWHERE}")


def _clear(folder: Path) -> None:
    """Remove what killed processes left in the folder of a locked fit, and what stands in place of a file."""
    if folder.is_symlink() and not folder.exists():
        folder.unlink()
    for path in manifest.left_over(folder):
        remove(path)
    for path in folder.iterdir() if folder.is_dir() else ():
        dangling = path.is_symlink() and not path.exists()  # a writer would make the file to which it leads
        if dangling or path.is_dir() != (path.name == "epochs"):
            remove(path)
