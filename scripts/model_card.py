"""Write the model card of the prior in the package, from measured numbers and the prior's files.

    python scripts/model_card.py --denoisers 50   # measure again
    python scripts/model_card.py --keep           # fill the template with the numbers in evaluation.json

The numbers are kept beside the card, in evaluation.json, with the SHA-256 of the measured weights.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository
from dipddpm.files import read_json, write_json
from prior_training import card
from prior_training.cli import refusals
from scripts import eval_prior

EVALUATION = "evaluation.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    eval_prior.add_options(parser)
    parser.add_argument("--keep", action="store_true", help="use the numbers in evaluation.json, measure nothing")
    args = parser.parse_args(namespace=argparse.Namespace(prior=eval_prior.PRIOR))
    file = args.prior / EVALUATION
    if args.keep:
        evaluation = read_json(file)
    else:
        evaluation = eval_prior.measured(parser, args)
        names = ["torch", "diffusers", *(["scikit-image", "bm3d"] if args.denoisers else [])]
        evaluation["packages"] = {name: version(name) for name in names}
    text = card.embedded(args.prior, evaluation)
    write_json(file, evaluation)
    (args.prior / card.CARD).write_text(text)
    print(text)


if __name__ == "__main__":
    with refusals():
        main()
