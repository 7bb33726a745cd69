"""Judge a prior on held-out faces: one evaluation by level, and against denoisers that were not learnt.

python scripts/eval_prior.py                            # the prior in the package; needs the extra `eval`
python scripts/eval_prior.py outputs/prior/faces64 ../shared/data/faces64-val.tar --denoisers-limit 0
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `scripts` run as files
from scripts import against_denoisers, denoisers
from scripts.faces import evenly, read_faces
from scripts.one_evaluation import LEVELS, errors_by_level
from scripts.refusals import refusals

__all__ = ["errors_by_level", "evaluate", "tables"]

PRIOR = Path(__file__).parents[1] / "dipddpm" / "assets" / "faces64"
PICTURES = Path("../shared/data/faces64-val.tar")
TUNED_ON = 40  # training faces


def tables(result: dict[str, Any]) -> str:
    """Return the Markdown tables of what `evaluate` measured."""
    lines = ["| level | sigma | epsilon error | PSNR (dB) |", "|---:|---:|---:|---:|"]
    for row in result["levels"]:
        lines.append(f"| {row['level']} | {row['sigma']:.1f} | {row['epsilon_error']:.4f} | {row['psnr']:.2f} |")
    text = f"One evaluation on {result['pictures']} held-out faces:\n\n" + "\n".join(lines) + "\n"
    if classical := result.get("denoisers"):
        text += f"\nThe same noisy pictures cleaned by others, {classical['pictures']} of these faces:\n\n"
        text += against_denoisers.table(classical["levels"])
    return text


def evaluate(
    folder: Path,
    pictures: Path,
    training: Path | None = None,
    limit: int | None = None,
    denoisers_limit: int = 100,
) -> dict[str, Any]:
    """Measure a prior, with a progress bar on stderr.

    Args:
        folder: Of the prior.
        pictures: Tar of held-out faces.
        training: Tar of faces to tune the other denoisers on; None: faces64-train.tar beside ``pictures``.
        limit: Held-out faces to use, None for all.
        denoisers_limit: Of these, so many for the other denoisers; 0 leaves them out.

    Returns:
        JSON types, with the SHA-256 of the weights that they belong to.
    """
    from dipddpm import files
    from dipddpm.diffusion import folder as prior_folder
    from dipddpm.diffusion import prior

    network = prior.load(folder)
    alphas_cumprod = network.schedule.alphas_cumprod
    chosen = read(pictures, limit)
    result: dict[str, Any] = {
        "sha256": files.sha256(prior_folder.weights_file(folder)),
        "pictures": len(chosen),
        "levels": [],
    }
    with bar() as progress:
        task = progress.add_task("one evaluation by level", total=len(LEVELS) * len(chosen))
        rows = errors_by_level(network.unet, alphas_cumprod, chosen, watch=lambda n: progress.advance(task, n))
    for level, mse, quality in rows:
        row = {"level": level, "sigma": network.schedule.sigma(level), "epsilon_error": mse, "psnr": quality}
        result["levels"].append(row)
    if denoisers_limit == 0:
        return result
    subset = chosen[evenly(len(chosen), denoisers_limit)]
    tuning = read(training or pictures.with_name("faces64-train.tar"), TUNED_ON)
    methods = len(denoisers.METHODS) + 2  # BM3D and the prior
    with bar() as progress:
        total = len(against_denoisers.LEVELS) * methods * len(subset)
        task = progress.add_task("against other denoisers", total=total)
        levels = against_denoisers.against_denoisers(
            network.unet, alphas_cumprod, subset, tuning, watch=lambda n: progress.advance(task, n)
        )
    return result | {"denoisers": {"pictures": len(subset), "tuned_on": len(tuning), "levels": levels}}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `evaluate` can be told, beside the two paths."""
    parser.add_argument("--train", type=Path, help="faces to tune on; default: faces64-train.tar beside the pictures")
    parser.add_argument("--limit", type=int, help="held-out faces to use, evenly spread over the file; default: all")
    parser.add_argument("--denoisers-limit", type=int, default=100, help="of these, for the other denoisers; 0: none")


def refuse_without_bm3d(parser: argparse.ArgumentParser, denoisers_limit: int) -> None:
    """Leave with one line, before any work, when BM3D is wanted and not installed."""
    if denoisers_limit and importlib.util.find_spec("bm3d") is None:
        parser.error('needs bm3d: pip install -e ".[eval]", or type --denoisers-limit 0')


def read(path: Path, count: int | None) -> torch.Tensor:
    with redirect_stdout(sys.stderr):  # its progress bar, so that the tables can be piped
        return read_faces(path, count)


def bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior", nargs="?", type=Path, default=PRIOR, help="diffusers folder")
    parser.add_argument("pictures", nargs="?", type=Path, default=PICTURES, help="tar of held-out faces")
    add_options(parser)
    parser.add_argument("--json", type=Path, help="also write the numbers there")
    args = parser.parse_args()
    refuse_without_bm3d(parser, args.denoisers_limit)
    result = evaluate(args.prior, args.pictures, args.train, args.limit, args.denoisers_limit)
    print(tables(result), end="")
    if args.json:
        from dipddpm.files import write_json

        write_json(args.json, result)


if __name__ == "__main__":
    with refusals():
        main()
