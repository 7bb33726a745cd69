"""Write the model card of the prior in the package from measured numbers and from its own files.

    python scripts/model_card.py --stage outputs/prior/faces64 --hardware "two cores of a desktop CPU"
    python scripts/model_card.py --keep                # the numbers in evaluation.json again: other words only

The evaluation is kept beside the card, in evaluation.json, with the SHA-256 of the weights that it is of; numbers
of other weights are refused. How they were trained is kept there too: a stage for each training that took them
further, as its training.json says. `--fp16` stores the weights in half precision first, if that moves nothing.
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

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `scripts` run as files
from dipddpm.diffusion import folder as prior_folder
from dipddpm.diffusion import prior
from dipddpm.diffusion.arithmetic import evaluation_gflop
from dipddpm.files import sha256, write_json
from scripts import eval_prior, half_precision, training_stages
from scripts.one_evaluation import LEVELS
from scripts.refusals import refusals

TEMPLATE = Path(__file__).with_name("model_card_template.md")
EVALUATION, CARD = "evaluation.json", "README.md"
SHOWN = {  # keys of unet/config.json
    "sample_size": "side of the pictures, pixels",
    "block_out_channels": "channels by resolution",
    "layers_per_block": "residual blocks a resolution",
    "down_block_types": "blocks, down",
    "add_attention": "attention between them",
    "up_block_types": "blocks, up",
    "attention_head_dim": "channels a head of attention",
    "norm_num_groups": "groups of GroupNorm",
}


def card(folder: Path, evaluation: dict[str, Any]) -> str:
    """Return the text of a prior's card.

    Args:
        folder: Of the prior.
        evaluation: What `scripts.eval_prior.evaluate` returned, and under ``training`` what is known of that:
            stages (see `scripts.training_stages`) and limits.

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
    return Template(TEMPLATE.read_text()).substitute(
        parameters=f"{network.unet.num_parameters():,}",
        gflop=f"{evaluation_gflop(network, (network.sample_size, network.sample_size)):.2f}",
        training=training_stages.table(training["stages"]),
        commands="\n".join(training_stages.commands(training["stages"])),
        architecture="\n".join(f"| {words} | {_value(config[key])} |" for key, words in SHOWN.items()),
        tables=eval_prior.tables(evaluation),
        classical=_classical(evaluation),
        eval_command=" ".join(["python scripts/eval_prior.py", *_options(training["limits"])]),
        card_command=" ".join(["python scripts/model_card.py --fp16", *_options(training["limits"])]),
        weights_name=weights.name,
        weights_bytes=f"{size:,}",
        weights_mb=f"{size / 1e6:.1f}",
        precision=half_precision.describe_precision(folder),
        sha256=evaluation["sha256"],
        packages=f"Measured with {', '.join(f'{name} {v}' for name, v in evaluation['packages'].items())}.",
    )


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prior", type=Path, default=eval_prior.PRIOR, help="diffusers folder; the card goes there")
    parser.add_argument("--data", type=Path, default=eval_prior.PICTURES, help="tar of held-out faces")
    eval_prior.add_options(parser)
    parser.add_argument("--keep", action="store_true", help="take the numbers from evaluation.json, measure nothing")
    parser.add_argument("--fp16", action="store_true", help="store the weights in half precision first")
    parser.add_argument("--stage", type=Path, help="out= of the training that made these weights of the ones before")
    parser.add_argument("--hardware", help="that the stage was trained on")
    args = parser.parse_args()
    if args.keep and args.fp16:
        parser.error("--fp16 changes the weights, so their numbers cannot be kept: leave out --keep")
    if (args.stage is None) != (args.hardware is None):
        parser.error("--stage and --hardware go together: the record does not say what a training ran on")
    folder, denoisers_limit = args.prior, args.denoisers_limit
    file = folder / EVALUATION
    before = json.loads(file.read_text()) if file.is_file() else None
    stages = before["training"]["stages"] if before else []
    if args.stage:
        if before and before["sha256"] == sha256(prior_folder.weights_file(folder)):
            parser.error(f"{file} is of these weights, so their stage is told: leave out --stage and --hardware")
        stages = training_stages.after(stages, args.stage, args.hardware)
    if args.keep:
        if before is None:
            parser.error(f"{file} is not there, so there are no numbers to keep: leave out --keep")
        evaluation, limits = before, before["training"]["limits"]
    else:
        if before and not args.stage and before["sha256"] != sha256(prior_folder.weights_file(folder)):
            parser.error(
                f"these weights are not those of {file}: type --stage <out of their training> --hardware <words>"
            )
        eval_prior.refuse_without_bm3d(parser, denoisers_limit)
        if args.fp16:
            halve(folder, args.data, args.limit)
        evaluation = eval_prior.evaluate(folder, args.data, args.train, args.limit, denoisers_limit)
        names = ["torch", "diffusers", *(["scikit-image", "bm3d"] if denoisers_limit else [])]
        evaluation["packages"] = {name: version(name) for name in names}
        limits = {"limit": args.limit, "denoisers_limit": denoisers_limit}
    evaluation["training"] = {"stages": stages, "limits": limits}
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
    with refusals():
        main()
