"""Model cards: for a prior that ``train_prior.py`` trained, and for the prior in the package.

Both are filled templates. The facts about a network are read from its folder.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

from dipddpm.diffusion import layout, prior
from dipddpm.diffusion.flops import evaluation_gflop
from dipddpm.files import flat, replacing, sha256
from prior_training import judge
from prior_training.evaluation import table

CARD = "README.md"
SHOWN = {  # keys of unet/config.json, and their words
    "sample_size": "side of the pictures, pixels",
    "block_out_channels": "channels by resolution",
    "layers_per_block": "residual blocks a resolution",
    "down_block_types": "blocks, down",
    "add_attention": "attention between them",
    "up_block_types": "blocks, up",
    "attention_head_dim": "channels a head of attention",
    "norm_num_groups": "groups of GroupNorm",
}


def write_own(folder: Path, record: dict[str, Any]) -> None:
    """Write the model card of a trained prior into its folder.

    Args:
        folder: diffusers folder of the prior.
        record: The content of training/training.json.
    """
    from dipddpm.study.tables import escaped  # late: pandas takes a second to import

    data, settings = record["data"], record["settings"]
    left_out = f"{len(data['left_out'])} could not be read. " if data["left_out"] else ""
    if data["enlarged"]:
        left_out += f"{data['enlarged']} were smaller than that and were enlarged. "
    rows = (
        f"| `{key}` | {escaped(_value(value))} |" for key, value in flat(settings).items() if key not in ("data", "out")
    )
    text = _fill(
        "card_own.md",
        folder,
        name=escaped(folder.resolve().name),
        data=escaped(data["name"]),
        pictures=data["pictures"],
        left_out=left_out,
        held_out=len(data["held_out"]),
        share=f"{settings['held_out']:.3g}",
        seed=settings["seed"],
        seen=f"{record['pictures']:,}",
        wanted=f"{settings['pictures']:,}",
        seconds=f"{record['seconds']:,}",
        on=f"{record['device']}, {settings['precision']}",
        settings="\n".join(rows),
        judged=record["evaluation"]["pictures"],
        table=table(record["evaluation"]["levels"]),
        versions=", ".join(f"{package} {version(package)}" for package in ("torch", "diffusers")),
    )
    with replacing(folder / CARD) as temporary:
        temporary.write_text(text)


def embedded(folder: Path, evaluation: dict[str, Any]) -> str:
    """Return the text of the card of the prior in the package.

    Args:
        folder: The folder of the prior.
        evaluation: The result of `prior_training.judge.evaluate`, with the versions of the ``packages`` that it used.

    Raises:
        ValueError: When the evaluation has the hash of other weights than the folder's.
    """
    (weights,) = layout.weights_files(folder)
    digest = sha256(weights)
    if evaluation["sha256"] != digest:
        raise ValueError(f"evaluation.json is of other weights than {weights.name}: run scripts/model_card.py again")
    size = weights.stat().st_size
    return _fill(
        "card_faces64.md",
        folder,
        tables=judge.tables(evaluation),
        tuned_on=evaluation.get("denoisers", {}).get("tuned_on", 0),
        weights_name=weights.name,
        weights_bytes=f"{size:,} bytes ({size / 1e6:.1f} MB)",
        sha256=digest,
        packages=", ".join(f"{name} {v}" for name, v in evaluation["packages"].items()),
    )


def _fill(template: str, folder: Path, **values: object) -> str:
    """Fill a template with ``values`` and with the facts about the folder's network."""
    network = prior.load(folder)
    config = layout.network_config(folder)
    side = network.sample_size
    return Template(Path(__file__).with_name(template).read_text()).substitute(
        size=side,
        parameters=f"{network.unet.num_parameters():,}",
        gflop=f"{evaluation_gflop(network, (side, side)):.2f}",
        architecture="\n".join(f"| {words} | {_value(config[key])} |" for key, words in SHOWN.items()),
        **values,
    )


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
