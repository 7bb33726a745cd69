"""The files of one stored fit: a folder with a manifest, which lists every file with its hash.

    fit.json                     the request; the key of the fit is its hash
    manifest.json                replaced last at every commit, so that the listed files are always whole
    epochs/000250.safetensors    weights (``net.*``) and ``picture`` (3, H, W) of a kept epoch
    curves-000612.npz            one row an epoch
    state-000612.ckpt            the newest Lightning checkpoint: optimiser, generators, averages
    summary.json, uses.txt, events.out.tfevents.*    for people; not in the manifest

A kill at any moment leaves the previous manifest and all files that it lists. Importing the module imports no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from dipddpm.dip.curves import Curves
from dipddpm.dip.keeping import Trajectory
from dipddpm.files import (
    canonical,
    facts,
    half_written,
    open_file,
    parse_json,
    read_json,
    read_text,
    replacing,
    utf8_path,
    write_json,
)
from dipddpm.names import LARGEST_OUTPUT

if TYPE_CHECKING:
    import torch

VERSION = 1
CHANGING = ("curves-*.npz", "state-*.ckpt")  # a commit writes new files of these names, and removes the old ones
WRITTEN = ("fit.json", "manifest.json", "summary.json", *CHANGING)


class Damaged(Exception):
    """A stored fit whose files are truncated, altered or missing."""


@dataclass(frozen=True)
class Fit(Trajectory):
    """A verified fit of the store.

    Attributes:
        key: The name of the fit in the store.
        folder: The folder of the fit.
        request: The values that determine the fit; the key is their hash.
    """

    key: str
    folder: Path
    request: dict[str, Any]

    @property
    def state(self) -> Path:
        """The Lightning checkpoint from which the fit can be continued."""
        return self.folder / state_name(self.epochs)

    def epoch_file(self, epoch: int) -> Path:
        """The safetensors file of a kept epoch."""
        return self.folder / epoch_name(epoch)

    def picture(self, epoch: int) -> torch.Tensor:
        """Return the kept picture of ``epoch``: float32, shape (1, 3, H, W), not clipped.

        Raises:
            KeyError: When the epoch was not kept.
        """
        if epoch not in self.kept:
            raise KeyError(f"epoch {epoch} was not kept; kept are {sorted(self.kept)}")
        return read_picture(self.epoch_file(epoch))


def read_picture(path: Path) -> torch.Tensor:
    """Return the picture in a verified file of a kept epoch: float32, shape (1, 3, H, W), not clipped."""
    with utf8_path(path) as name, safe_open(name, framework="pt") as file:
        return file.get_tensor("picture")[None]


def epoch_name(epoch: int) -> str:
    return f"epochs/{epoch:06d}.safetensors"


def curves_name(epoch: int) -> str:
    return f"curves-{epoch:06d}.npz"


def state_name(epoch: int) -> str:
    return f"state-{epoch:06d}.ckpt"


@dataclass(frozen=True)
class KeptFile:
    """The file of a kept epoch, of any fit.

    Attributes:
        pixels: Content hash of the picture that the epoch was fitted to; None where the file does not hold it.
        fit: The folder of the stored fit whose manifest lists the file; None for a file outside a store.
    """

    pixels: str | None
    fit: Path | None


def check_file(path: Path, size: tuple[int, int] | None = None) -> KeptFile:
    """Check the file of a kept epoch: its header, then its hash in the manifest of its fit, then its picture.

    Args:
        path: The file, in a store or elsewhere.
        size: Height and width that the picture must have; None allows any.

    Raises:
        Damaged: When the file is not whole, or holds no finite picture of that size. The text does not name the file.
    """
    try:
        open_file(path).close()  # safe_open would wait for the other end of a pipe
        with utf8_path(path) as name, safe_open(name, framework="np") as file:
            part, pixels = file.get_slice("picture"), (file.metadata() or {}).get("pixels")
            kind, shape = part.get_dtype(), part.get_shape()
            if kind != "F32" or len(shape) != 3 or shape[0] != 3:
                raise Damaged(f"the picture is {kind} of shape {tuple(shape)}, and must be F32 of shape (3, H, W)")
            if size is not None and tuple(shape[1:]) != tuple(size):
                given, wanted = ("x".join(map(str, s)) for s in (shape[1:], size))
                raise Damaged(f"the file holds a picture of {given}, and the noisy picture has {wanted}")
            fit = _fit_that_lists(path)
            if not (np.abs(file.get_tensor("picture")) <= LARGEST_OUTPUT).all():  # NaN is not
                raise Damaged(f"the picture has values that are not finite, or are beyond {LARGEST_OUTPUT:,.0f}")
    except (SafetensorError, ValueError, MemoryError) as error:  # MemoryError: the file is larger than the memory
        raise Damaged(f"the file holds no kept epoch ({error})") from error
    return KeptFile(pixels, fit)


def _fit_that_lists(path: Path) -> Path | None:
    """Return the folder of the stored fit that lists a file, once the file has the listed hash; None without one."""
    path = path.resolve()
    folder = path.parent.parent
    if path.parent.name != "epochs" or not (folder / "fit.json").is_file():
        return None
    try:
        body = _body(read_text(folder / "manifest.json"))
        expected = body["files"].get(f"epochs/{path.name}")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, AttributeError, TypeError, Damaged) as error:
        raise Damaged("the fit's manifest.json is damaged") from error
    if expected is None:
        return None  # a running fit wrote the file, and has not committed it
    if expected != facts(path):
        raise Damaged("the file was altered: the fit's manifest.json has another hash")
    return folder if body["key"] == folder.name else None


def write_epoch(
    folder: Path, epoch: int, weights: Mapping[str, torch.Tensor], picture: torch.Tensor, pixels: str
) -> dict[str, Any]:
    """Write a kept epoch's file; return its hash and size, as the manifest lists them.

    Args:
        folder: The folder of the fit.
        epoch: The epoch, counted from 1.
        weights: The weights of the network, by name.
        picture: The kept picture, shape (1, 3, H, W).
        pixels: Content hash of the loaded picture.
    """
    from safetensors.torch import save

    tensors = {f"net.{k}": v.detach().cpu().contiguous() for k, v in weights.items()}
    tensors["picture"] = picture[0].detach().float().cpu().contiguous()
    content = save(tensors, metadata={"epoch": str(epoch), "pixels": pixels})
    with replacing(folder / epoch_name(epoch)) as temporary:
        temporary.write_bytes(content)
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def commit(folder: Path, key: str, trajectory: Trajectory, written: Mapping[str, Any] | None = None) -> None:
    """Make the trajectory so far the stored one. Its state and epoch files must be written already.

    Args:
        folder: The folder of the fit.
        key: The name of the fit in the store.
        trajectory: The fit so far.
        written: Hash and size of new files of kept epochs, by name. Those of other new files are read from the files.
    """
    epochs, kept = trajectory.epochs, trajectory.kept
    with replacing(folder / curves_name(epochs)) as temporary:
        trajectory.curves.save(temporary)
    names = [epoch_name(e) for e in kept] + [curves_name(epochs), state_name(epochs), "fit.json"]
    known = {**files_of(folder), **(written or {})}  # kept epochs are never rewritten, so their hashes stay valid
    files = {}
    for name in names:
        fresh = not name.startswith("epochs/") or name not in known
        files[name] = facts(folder / name) if fresh else known[name]
    body = {
        "version": VERSION,
        "key": key,
        "epochs": epochs,
        "kept": {str(e): psnr for e, psnr in kept.items()},
        "seconds": trajectory.seconds,
        "revived": trajectory.revived,
        "environments": trajectory.environments,
        "files": files,
    }
    write_json(folder / "manifest.json", body | {"digest": _digest(body)})
    for old in unlisted(folder):
        old.unlink(missing_ok=True)


def unlisted(folder: Path) -> list[Path]:
    """Return the curves and states of a fit that its manifest does not list; none where the manifest is unreadable."""
    try:
        listed = read_json(folder / "manifest.json")["files"]
    except FileNotFoundError:
        listed = {}
    except (OSError, ValueError, KeyError):
        return []
    return [p for pattern in CHANGING for p in folder.glob(pattern) if p.name not in listed]


def left_over(folder: Path) -> list[Path]:
    """Return the files that killed processes left in the folder of a fit, and that nothing will read."""
    half = [*half_written(folder, WRITTEN), *half_written(folder / "epochs", ["*.safetensors"])]
    return half + unlisted(folder)


def read(folder: Path) -> Fit | None:
    """Return the fit of a folder, or None when no fit was committed there.

    Raises:
        Damaged: When the manifest or a file that it lists is not as it was written.
        OSError: When the files cannot be read now. The fit may be whole.
    """
    path = folder / "manifest.json"
    while True:
        try:
            text = read_text(path)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise Damaged(f"{path}: {error}") from error
        try:
            return _verified(folder, text)
        except Damaged:
            with suppress(FileNotFoundError, ValueError):
                if read_text(path) == text:
                    raise
            # another process committed in between, and removed files of the older manifest: read again


def _verified(folder: Path, text: str) -> Fit:
    try:
        body = _body(text)
        for name, expected in body["files"].items():
            if facts(folder / name) != expected:
                raise Damaged(f"{folder / name} is truncated or altered")
        return Fit(
            key=body["key"],
            folder=folder,
            request=read_json(folder / "fit.json"),
            kept={int(e): psnr for e, psnr in body["kept"].items()},
            curves=Curves.load(folder / curves_name(body["epochs"])),
            seconds=body["seconds"],
            revived=body["revived"],
            environments=body.get("environments")
            or [{"from_epoch": 1} | body["environment"]],  # an older form of the manifest
        )
    except (FileNotFoundError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise Damaged(f"{folder}: {error}") from error


def _body(text: str) -> dict[str, Any]:
    """Return the entries of a manifest, once its digest is right."""
    body = parse_json(text)
    if body.pop("digest", None) != _digest(body):
        raise Damaged("manifest.json was altered")
    return body


def files_of(folder: Path) -> dict[str, Any]:
    """Return size and SHA-256 of each file of a manifest, by name; empty for a manifest that cannot be read."""
    try:
        return dict(read_json(folder / "manifest.json")["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(dict(body)).encode()).hexdigest()
