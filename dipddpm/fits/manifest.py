"""The files of one stored fit: a folder with a manifest, which lists every file with its hash.

    fit.json                     the request; the key of the fit is its hash
    manifest.json                replaced last at every commit, so that the listed files are always whole
    epochs/000250.safetensors    weights (``net.*``) and ``picture`` (3, H, W) of a kept epoch
    curves-000612.npz            one row an epoch
    state-000612.ckpt            the newest Lightning checkpoint: optimiser, generators, averages
    summary.json, uses.txt, events.out.tfevents.*    for people; not in the manifest

A kill at any moment leaves the previous manifest and all files that it lists.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dipddpm.dip.curves import Curves
from dipddpm.dip.keeping import Trajectory
from dipddpm.files import canonical, replacing, sha256, write_json

VERSION = 1


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
    """Return the picture of a kept epoch's file: float32, shape (1, 3, H, W), not clipped.

    Raises:
        Damaged: When the file is not the file of a kept epoch.
    """
    with _kept_epoch(path) as file:
        return file.get_tensor("picture")[None]


def epoch_name(epoch: int) -> str:
    return f"epochs/{epoch:06d}.safetensors"


def curves_name(epoch: int) -> str:
    return f"curves-{epoch:06d}.npz"


def state_name(epoch: int) -> str:
    return f"state-{epoch:06d}.ckpt"


def read_pixels(path: Path) -> str | None:
    """Return the content hash of the picture that a kept epoch was fitted to; None where the file lacks it.

    Raises:
        Damaged: When the file is not the file of a kept epoch.
    """
    with _kept_epoch(path) as file:
        return (file.metadata() or {}).get("pixels")


@contextmanager
def _kept_epoch(path: Path) -> Iterator[safe_open]:
    """Open a kept epoch's file for lazy reading; raise `Damaged` for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise Damaged(f"{path} is not the file of a kept epoch: {error}") from error


def write_epoch(
    folder: Path, epoch: int, weights: Mapping[str, torch.Tensor], picture: torch.Tensor, pixels: str
) -> None:
    """Write a kept epoch's file.

    Args:
        folder: The folder of the fit.
        epoch: The epoch, counted from 1.
        weights: The weights of the network, by name.
        picture: The output of the network, shape (1, 3, H, W).
        pixels: Content hash of the loaded picture.
    """
    tensors = {f"net.{k}": v.detach().cpu().contiguous() for k, v in weights.items()}
    tensors["picture"] = picture[0].detach().float().cpu().contiguous()
    with replacing(folder / epoch_name(epoch)) as temporary:
        save_file(tensors, temporary, metadata={"epoch": str(epoch), "pixels": pixels})


def commit(folder: Path, key: str, trajectory: Trajectory) -> None:
    """Make the trajectory so far the stored one. Its state and epoch files must be written already.

    Args:
        folder: The folder of the fit.
        key: The name of the fit in the store.
        trajectory: The fit so far.
    """
    epochs, kept = trajectory.epochs, trajectory.kept
    with replacing(folder / curves_name(epochs)) as temporary:
        trajectory.curves.save(temporary)
    names = [epoch_name(e) for e in kept] + [curves_name(epochs), state_name(epochs), "fit.json"]
    known = files_of(folder)  # kept epochs are never rewritten, so their hashes stay valid
    files = {}
    for name in names:
        fresh = not name.startswith("epochs/") or name not in known
        files[name] = _describe(folder / name) if fresh else known[name]
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
    for old in [*folder.glob("curves-*.npz"), *folder.glob("state-*.ckpt")]:
        if old.name not in files:
            old.unlink(missing_ok=True)


def read(folder: Path) -> Fit | None:
    """Return the fit of a folder, or None when no fit was committed there.

    Raises:
        Damaged: When the manifest or a file that it lists is not as it was written.
        OSError: When the files cannot be read now. The fit may be whole.
    """
    path = folder / "manifest.json"
    while True:
        try:
            text = path.read_text(errors="replace")  # bytes that are no text fail the digest
        except FileNotFoundError:
            return None
        try:
            return _verified(folder, text)
        except Damaged:
            if path.exists() and path.read_text(errors="replace") == text:
                raise
            # another process committed in between, and removed files of the older manifest: read again


def _verified(folder: Path, text: str) -> Fit:
    try:
        body = json.loads(text)
        digest = body.pop("digest")
        if digest != _digest(body):
            raise Damaged(f"{folder / 'manifest.json'} was altered")
        for name, expected in body["files"].items():
            if _describe(folder / name) != expected:
                raise Damaged(f"{folder / name} is truncated or altered")
        request = json.loads((folder / "fit.json").read_text())
        curves = Curves.load(folder / curves_name(body["epochs"]))
    except (FileNotFoundError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise Damaged(f"{folder}: {error}") from error
    return Fit(
        key=body["key"],
        folder=folder,
        request=request,
        kept={int(e): psnr for e, psnr in body["kept"].items()},
        curves=curves,
        seconds=body["seconds"],
        revived=body["revived"],
        environments=body.get("environments")
        or [{"from_epoch": 1} | body["environment"]],  # an older form of the manifest
    )


def files_of(folder: Path) -> dict[str, Any]:
    """Return size and SHA-256 of each file of a manifest, by name; empty for a manifest that cannot be read."""
    try:
        return json.loads((folder / "manifest.json").read_text())["files"]
    except (OSError, ValueError, KeyError):
        return {}


def _describe(path: Path) -> dict[str, Any]:
    return {"sha256": sha256(path), "bytes": path.stat().st_size}


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(dict(body)).encode()).hexdigest()
