"""Print the peak memory of this process, without its imports, as JSON.

python -m bench.memory job <folder of a prior> 256 cpu
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.utils.tensorboard
from diffusers.models.unets.unet_2d import UNet2DModel

from bench.jobs import configured
from bench.prior_rows import ORIGINAL
from dipddpm.runs import commands
from dipddpm.runs.job import Job

SHORT = ("baselines=false", "stopping=never", "dip.max_epochs=10", "ddpm.start_t=3")


def peak(device: str) -> float:
    """Return the largest memory so far in MiB: allocated on a GPU, or resident on Linux.

    ``resource.getrusage`` would count the memory of the process that started this one.
    """
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def job(prior: str, size: str, device: str) -> None:
    """Run a whole job with few epochs and levels."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder, "job")
        here.mkdir()
        where = [f"prior.path={prior}", f"image.size={size}", f"device={device}", f"store={folder}/fits"]
        typed = [*ORIGINAL, *SHORT, *where]
        commands.sample(configured(typed), Job(here))


def evaluation(prior: str, size: str, device: str) -> None:
    """Load the weights and evaluate once, as a user of diffusers does."""
    network: Any = UNet2DModel.from_pretrained(prior, subfolder="unet")
    network.to(device).eval()
    with torch.no_grad():
        network(torch.zeros(1, 3, int(size), int(size), device=device), 49)


def main() -> None:
    what, prior, size, device = sys.argv[1:]
    before = peak(device)
    {"job": job, "evaluation": evaluation}[what](prior, size, device)
    print(json.dumps({"mib": peak(device) - before, "ended": "well"}))


if __name__ == "__main__":
    main()
