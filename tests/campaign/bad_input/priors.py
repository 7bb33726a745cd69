"""Priors: folders of diffusers with missing, altered and hostile files."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file
from support.priors import write_tiny_prior

from campaign.bad_input.case import EITHER, EXECUTED, REFUSED, WHOLE, WINDOW, Case, Hostile, replaced, tensors

CONFIG, SCHEDULER = "unet/config.json", "scheduler/scheduler_config.json"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
Change = Callable[[Path], object]  # of a prior's folder
VALUES: dict[str, dict[str, list[Any]]] = {
    CONFIG: {
        "sample_size": [0, -1, 10**9, "16", None, [16, 8], 1.5, True, {}, 17],
        "in_channels": [1, 0, "3", None, 10**9],
        "block_out_channels": [[], [0, 16], [8, "x"], 8, None, [8, 16, 32], [10**9, 10**9], "ab", [8], [8] * 60],
        "layers_per_block": [0, -1, 10**6, "x", None],
        "norm_num_groups": [0, 3, -1, None, 10**9],
        "attention_head_dim": [0, -1, 10**9, "x"],
        "down_block_types": [[], ["X", "Y"], ["os.system", "x"], None],
        "_class_name": ["X", "os.system", None, 3, "UNet2DConditionModel"],
        "auto_map": [{"AutoModel": "evil.Evil"}],
        "quantization_config": [{"quant_method": "x"}, 3],
        "nosuch_key": [1],
    },
    SCHEDULER: {
        "num_train_timesteps": [10, 0, -1, 10**12, "x", None],
        "beta_schedule": ["x", None, "scaled_linear", "squaredcos_cap_v2"],
        "beta_start": [-1, "x", None, 10, float("nan")],
        "trained_betas": [[0.1], [], ["x"] * 1000, [0.5] * 1000, "x"],
        "prediction_type": ["x", None, "v_prediction"],
        "variance_type": ["learned", "x"],
        "_class_name": ["DDIMScheduler", "X", None],
    },
}
TEXTS = (b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a":NaN}', b"[" * 100_000, b'"x"', b"{}")


def priors(folder: Path, rng: random.Random) -> list[Case]:
    """Write a folder for each case."""
    whole = folder / "whole"
    unet = write_tiny_prior(whole)
    changes: dict[str, tuple[Change, tuple[int, ...]]] = {"whole": (lambda prior: None, WHOLE)}
    for file, keys in VALUES.items():
        for key, values in keys.items():
            changes |= {f"{key}={str(v)[:30]}": (_with(file, key, v), EITHER) for v in values}
        changes |= {f"{file} is {t[:12]!r}": (_holding(file, t), EITHER) for t in TEXTS}
    for file in (CONFIG, SCHEDULER, WEIGHTS):
        changes |= {f"{file} is {name}": (_special(file, make), EITHER) for name, make in SPECIALS.items()}
    changes |= {f"weights: {name}": (_holding(WEIGHTS, data), REFUSED) for name, data in _files(whole, rng).items()}
    changes["weights of NaN"] = _weights(lambda t: torch.full_like(t, float("nan"))), REFUSED
    changes["half of the weights"] = _half, REFUSED
    changes |= {f".bin: {name}": (_in_bin(data), REFUSED) for name, data in _pickles(unet).items()}
    changes["Python beside the weights"] = _holding("unet/config.py", f"open('{EXECUTED}', 'w')".encode()), WHOLE
    cases = []
    for i, (name, (change, codes)) in enumerate(changes.items()):
        prior = folder / f"{i}"
        shutil.copytree(whole, prior)
        change(prior)
        cases.append(Case(name, replaced(WINDOW, f"prior.path={prior}"), codes))
    return cases


def _with(file: str, key: str, value: Any) -> Change:
    def change(prior: Path) -> None:
        (prior / file).write_text(json.dumps(json.loads((prior / file).read_text()) | {key: value}))

    return change


def _holding(file: str, data: bytes) -> Change:
    return lambda prior: (prior / file).write_bytes(data)


SPECIALS: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: None,
    "a loop": lambda path: path.symlink_to(path.name),
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a pipe": os.mkfifo,
    "a folder": lambda path: path.mkdir(),
}


def _special(file: str, make: Callable[[Path], object]) -> Change:
    def change(prior: Path) -> None:
        (prior / file).unlink()
        make(prior / file)

    return change


def _files(whole: Path, rng: random.Random) -> dict[str, bytes]:
    """Return files that are no weights, by what is wrong with them."""
    data = (whole / WEIGHTS).read_bytes()

    def claim(**entry: Any) -> bytes:
        return tensors(json.dumps({"conv_in.weight": {"dtype": "F32", "shape": [8, 3, 3, 3]} | entry}).encode())

    return {
        "empty": b"",
        "a header of 2^60 bytes": (2**60).to_bytes(8, "little") + b"{}",
        "tensors beyond the end": claim(data_offsets=[0, 10**9]),
        "a negative offset": claim(data_offsets=[-8, 64]),
        "a shape of 2^66": claim(shape=[2**62, 16], data_offsets=[0, 64]),
        "an unknown dtype": claim(dtype="X", data_offsets=[0, 64]),
        "deep JSON": tensors(b"[" * 200_000),
        "no tensor": tensors(b"{}"),
        "random bytes": rng.randbytes(5000),
        "a pickle": pickle.dumps(Hostile()),
        **{f"cut short {i}": data[: rng.randrange(len(data))] for i in range(3)},
    }


def _weights(value: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    return lambda prior: save_file({k: value(v) for k, v in load_file(prior / WEIGHTS).items()}, prior / WEIGHTS)


def _half(prior: Path) -> None:
    save_file(dict(list(load_file(prior / WEIGHTS).items())[::2]), prior / WEIGHTS)


def _in_bin(data: bytes | Callable[[Path], object]) -> Change:
    def change(prior: Path) -> None:
        (prior / WEIGHTS).unlink()
        path = prior / "unet/diffusion_pytorch_model.bin"
        path.write_bytes(data) if isinstance(data, bytes) else data(path)

    return change


def _pickles(unet: UNet2DModel) -> dict[str, bytes | Callable[[Path], object]]:
    hostile = dict(unet.state_dict()) | {"conv_in.weight": Hostile()}
    return {
        "a hostile pickle": pickle.dumps(Hostile()),
        "a hostile pickle of protocol 0": pickle.dumps(Hostile(), 0),
        "a hostile entry": lambda path: torch.save(hostile, path),
        "a hostile entry, old format": lambda path: torch.save(hostile, path, _use_new_zipfile_serialization=False),
        "a whole module": lambda path: torch.save(unet, path),
        "text": b"hello",
    }
