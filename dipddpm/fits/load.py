"""Load a kept epoch of a stored fit: network, picture and curves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from dipddpm.dip import networks
from dipddpm.dip.curves import Curves, best_kept
from dipddpm.dip.module import fixed_input
from dipddpm.dip.settings import DipSettings
from dipddpm.environment import outside_inference_mode
from dipddpm.errors import suggestion
from dipddpm.files import expanded, utf8_path
from dipddpm.fits import manifest
from dipddpm.fits.manifest import Damaged, Fit

WORDS = ("best", "last")


@dataclass(frozen=True)
class LoadedFit:
    """A kept epoch of a stored fit.

    Attributes:
        network: The network with the weights of the epoch. It maps z to the epoch's own output; for a fit in bf16,
            under autocast.
        z: The fixed input, shape (1, 3, H, W), in [0, 1].
        picture: The kept picture: float32, shape (1, 3, H, W), not clipped. With ``ema`` it is an average of outputs.
        epoch: The epoch, counted from 1.
        curves: One row for each epoch of the whole fit.
        request: The values that determined the fit (`dipddpm.fits.request`).
        folder: The folder of the fit.
    """

    network: torch.nn.Module
    z: torch.Tensor
    picture: torch.Tensor
    epoch: int
    curves: Curves
    request: dict[str, Any]
    folder: Path


@outside_inference_mode
def load_fit(path: str | Path, epoch: int | str | None = None) -> LoadedFit:
    """Load a kept epoch of a stored fit. All files of the fit are verified.

    Args:
        path: The fit's folder, such as ``outputs/fits/<key>`` or the link ``fits/<key>`` in a sweep's folder; or one
            of its files ``epochs/*.safetensors``.
        epoch: A kept epoch, ``"best"`` (highest PSNR, which needs a clean picture) or ``"last"``. None: the epoch of
            the file, or the last kept epoch of the folder.

    Raises:
        FileNotFoundError: When there is no fit.
        ValueError: For an epoch that was not kept, ``"best"`` without a clean picture, or a damaged fit.
    """
    path = expanded(path)
    folder = path
    if path.is_file():
        file = path.resolve()  # a link may have another name
        folder = file.parent.parent
        epoch = _epoch_of(file) if epoch is None else epoch
    fit = _read(folder, path)
    chosen = _chosen(fit, "last" if epoch is None else epoch)
    settings = DipSettings(**fit.request["dip"])
    network = networks.build(settings, torch.Generator())
    with utf8_path(fit.epoch_file(chosen)) as name:
        tensors = load_file(name)
    picture = tensors.pop("picture")[None]
    network.load_state_dict({name.removeprefix("net."): tensor for name, tensor in tensors.items()})
    fast = networks.memory_format(network)
    network.to(memory_format=fast)  # pyright: ignore[reportCallIssue]
    z = fixed_input(picture.shape, fit.request["seed"], fit.request["pixels"]).contiguous(memory_format=fast)
    return LoadedFit(network, z, picture, chosen, fit.curves, fit.request, folder)


def _epoch_of(path: Path) -> int:
    if path.suffix != ".safetensors" or not path.stem.isdigit():
        raise ValueError(f"{path} is no kept epoch of a fit: give its folder, or a file epochs/<epoch>.safetensors")
    return int(path.stem)


def _read(folder: Path, path: Path) -> Fit:
    try:
        fit = manifest.read(folder)
    except Damaged as error:
        raise ValueError(f"the fit is damaged: {error}") from error
    if fit is None:
        raise FileNotFoundError(f"{path} holds no fit: give the folder of a fit, such as outputs/fits/<key>")
    return fit


def _chosen(fit: Fit, epoch: int | str) -> int:
    if epoch == "last":
        return max(fit.kept)
    if epoch == "best":
        best = best_kept(fit.kept)
        if best is None:
            raise ValueError('epoch="best" needs a fit that knew its clean picture: give "last" or a number')
        return best[0]
    if isinstance(epoch, bool | str) or not hasattr(epoch, "__index__"):  # 10.0 is equal to 10, and names no file
        given = f'"{epoch}"' if isinstance(epoch, str) else repr(epoch)
        near = suggestion(str(epoch), WORDS)
        raise ValueError(f'epoch={given} is not allowed{near}: give "best", "last" or a whole number')
    epoch = int(epoch)
    if epoch not in fit.kept:
        near = min(fit.kept, key=lambda kept: abs(kept - epoch))
        raise ValueError(f"epoch {epoch} was not kept: the nearest kept epoch is {near}, the last {max(fit.kept)}")
    return epoch
