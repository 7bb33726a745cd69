"""Write the model card of the prior in the package from measured numbers and from its own files.

    python scripts/model_card.py --training outputs/prior/faces64 --hardware "two cores of a desktop CPU"
    python scripts/model_card.py --keep ...            # the numbers in evaluation.json again: other words only

The evaluation is kept beside the card, in evaluation.json, with the SHA-256 of the weights that it is of;
numbers of other weights are refused. `--fp16` stores the weights in half precision first, if that moves nothing.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `scripts` run as files
from dipddpm import operations, prior, prior_folder
from dipddpm.files import sha256, write_json
from scripts import eval_prior, half_precision
from scripts.one_evaluation import LEVELS

TEMPLATE = Path(__file__).with_name("model_card_template.md")
EVALUATION, CARD = "evaluation.json", "README.md"
SHOWN = {  # keys of unet/config.json
    "sample_size": "side of the pictures, pixels",
    "block_out_channels": "channels by resolution",
    "layers_per_block": "residual blocks a resolution",
    "down_block_types": "blocks, down",
    "up_block_types": "blocks, up",
    "attention_head_dim": "channels a head of attention",
    "norm_num_groups": "groups of GroupNorm",
}


def seen_and_seconds(folders: list[Path], seen: int, seconds: float) -> tuple[int, float]:
    """Add what the checkpoints of training folders say to what is given: one folder a stage."""
    for folder in folders:
        state = torch.load(folder / "checkpoint.pt", map_location="cpu")
        seen, seconds = seen + state["seen"], seconds + state["seconds"]
    return seen, seconds


def card(folder: Path, evaluation: dict[str, Any]) -> str:
    """Return the text of a prior's card.

    Args:
        folder: Of the prior.
        evaluation: What `scripts.eval_prior.evaluate` returned, and under ``training`` what is known of that:
            pictures, seconds, hardware, overrides, limits.

    Raises:
        ValueError: When the evaluation is of other weights than the folder's.
    """
    weights = prior_folder.weights_file(folder)
    if evaluation["sha256"] != sha256(weights):
        raise ValueError(f"{EVALUATION} is of other weights than {weights.name}: evaluate again")
    network = prior.load(folder)
    config = prior_folder.read_json(prior_folder.network_folder(folder) / "config.json")
    size = weights.stat().st_size
    training = evaluation["training"]
    train = "python scripts/train_prior.py data=../shared/data"
    command = train  # of several stages, the overrides give the pictures of the last
    if "pictures=" not in training["overrides"].replace("warmup_pictures=", "").replace("eval_pictures=", ""):
        command += f" pictures={training['pictures'] or 150000}"
    return Template(TEMPLATE.read_text()).substitute(
        parameters=f"{network.parameters:,}",
        gflop=f"{operations.of_evaluation(network):.2f}",
        training=_training(training),
        cpu_command=f"{command} {training['overrides']}".strip(),
        gpu_command=f"{train} pictures=4000000 batch_size=128 warmup_pictures=50000 unet.layers_per_block=2",
        architecture="\n".join(f"| {words} | {_value(config[key])} |" for key, words in SHOWN.items()),
        tables=eval_prior.tables(evaluation),
        classical=_classical(evaluation),
        eval_command=" ".join(["python scripts/eval_prior.py", *_options(training["limits"])]),
        card_command=" ".join(["python scripts/model_card.py", *_options(training["limits"]), *_given(training)]),
        weights_name=weights.name,
        weights_bytes=f"{size:,}",
        weights_mb=f"{size / 1e6:.1f}",
        precision=half_precision.describe_precision(folder),
        sha256=evaluation["sha256"],
        packages=f"Measured with {', '.join(f'{name} {v}' for name, v in evaluation['packages'].items())}.",
    )


def _training(training: dict[str, Any]) -> str:
    if not training["pictures"]:
        return "How many pictures these weights saw was not recorded."
    text = f"{training['pictures']:,} pictures seen ({training['pictures'] / 20000:.1f} times the 20,000)"
    if training["seconds"]:
        text += f", {training['seconds']:,.0f} seconds"
    return text + (f", on {training['hardware']}." if training["hardware"] else ".")


def _classical(evaluation: dict[str, Any]) -> str:
    if "denoisers" not in evaluation:
        return ""
    return (
        f"Of total variation and non-local means (scikit-image) the parameters with the best mean PSNR on "
        f"{evaluation['denoisers']['tuned_on']} training faces were taken from a grid (`scripts/denoisers.py`), h and "
        "weight in units of sigma; BM3D (PyPI `bm3d`, colour) runs as its authors set it. All are told sigma. None of "
        "them has seen a face before, so this says what knowing faces is worth, not which method is better elsewhere."
    )


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _options(values: dict[str, Any]) -> list[str]:
    return [f"--{name.replace('_', '-')} {shlex.quote(str(v))}" for name, v in values.items() if v is not None]


def _given(training: dict[str, Any]) -> list[str]:
    return _options({k: training[k] or None for k in ("pictures", "seconds", "hardware", "overrides")})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prior", type=Path, default=eval_prior.PRIOR, help="diffusers folder; the card goes there")
    parser.add_argument("--data", type=Path, default=eval_prior.PICTURES, help="tar of held-out faces")
    eval_prior.add_options(parser)
    parser.add_argument("--keep", action="store_true", help="take the numbers from evaluation.json, measure nothing")
    parser.add_argument("--fp16", action="store_true", help="store the weights in half precision first")
    parser.add_argument("--training", type=Path, action="append", default=[], help="out= of a training; again for more")
    parser.add_argument("--pictures", type=int, default=0, help="seen in training, beside those of --training")
    parser.add_argument("--seconds", type=float, default=0.0, help="of training, beside those of --training")
    parser.add_argument("--hardware", default="", help="that it was trained on")
    parser.add_argument("--overrides", default="", help="of the training command, as typed")
    args = parser.parse_args()
    if args.keep and args.fp16:
        parser.error("--fp16 changes the weights, so their numbers cannot be kept: leave out --keep")
    folder, denoisers_limit = args.prior, args.denoisers_limit
    file = folder / EVALUATION
    if args.keep:
        evaluation = json.loads(file.read_text())
        limits = evaluation["training"]["limits"]
    else:
        eval_prior.refuse_without_bm3d(parser, denoisers_limit)
        if args.fp16:
            halve(folder, args.data, args.limit)
        evaluation = eval_prior.evaluate(folder, args.data, args.train, args.limit, denoisers_limit)
        names = ["torch", "diffusers", *(["scikit-image", "bm3d"] if denoisers_limit else [])]
        evaluation["packages"] = {name: version(name) for name in names}
        limits = {"limit": args.limit, "denoisers_limit": denoisers_limit}
    seen, seconds = seen_and_seconds(args.training, args.pictures, args.seconds)
    if not args.keep or seen:
        known = {"pictures": seen, "seconds": round(seconds), "hardware": args.hardware, "overrides": args.overrides}
        evaluation["training"] = known | {"limits": limits}
    text = card(folder, evaluation)
    write_json(file, evaluation)
    (folder / CARD).write_text(text)
    print(text)


def halve(folder: Path, pictures: Path, limit: int | None) -> None:
    """Store the weights in half precision and say what that moved; leave with one line if it moves too much."""
    chosen = eval_prior.read(pictures, limit)
    with eval_prior.bar() as progress:
        task = progress.add_task("half precision", total=2 * len(LEVELS) * len(chosen))
        try:
            change = half_precision.store_half(folder, chosen, watch=lambda n: progress.advance(task, n))
        except ValueError as error:
            sys.exit(f"error: {error}")
    print(f"half precision: the mean PSNR moved by at most {change:.2g} dB", file=sys.stderr)


if __name__ == "__main__":
    main()
