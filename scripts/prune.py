"""Leave out the self-attention at the bottom of a prior, where it does nothing: a little less arithmetic.

    python scripts/prune.py outputs/prior/stage9 outputs/prior/stage9-pruned

The bottom is the way down at the coarsest resolution, and the middle; on the way up attention stays. docs/prior.md has
what it was worth: at most 0.002 dB.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from diffusers import DDPMPipeline, UNet2DModel

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `scripts` run as files
from scripts.refusals import refusals
from scripts.train_prior_config import own_config


def prune(unet: Any) -> Any:
    """Return a diffusers UNet2DModel without attention on the way down at its coarsest resolution and in the middle.

    All other weights are those of ``unet``.
    """
    down = [*unet.config["down_block_types"][:-1], "DownBlock2D"]
    config: dict[str, Any] = own_config(unet) | {"down_block_types": down, "add_attention": False}
    pruned = UNet2DModel(**config)
    weights = unet.state_dict()
    pruned.load_state_dict({name: weights[name] for name in pruned.state_dict()})
    return pruned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior", type=Path, help="diffusers folder, or out= of a training")
    parser.add_argument("out", type=Path, help="folder that gets the pruned prior")
    args = parser.parse_args()
    for name in ("model_index.json", "unet/config.json"):
        if not (args.prior / name).is_file():
            parser.error(f"{args.prior} is no folder of a diffusers pipeline: it holds no {name}")
    pipeline: Any = DDPMPipeline.from_pretrained(args.prior, use_safetensors=True)
    DDPMPipeline(unet=prune(pipeline.unet), scheduler=pipeline.scheduler).save_pretrained(args.out)
    print(args.out)


if __name__ == "__main__":
    with refusals():
        main()
