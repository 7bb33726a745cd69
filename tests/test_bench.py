"""The tables of the benches: each cell from the jobs that its row and column name."""

from itertools import product

from support.study_jobs import job, metrics

from bench.faces import jobs_in
from bench.operators import DIPS, LEVELS, table

FACES = ("a.png", "b.png")
PROBLEMS = {"operator.missing=0.5": 10.0, "operator.file=hole.png": 20.0}
CONFIG = (
    "operator: {kind: mask, missing: 0.5, file: %s}\ndip: {network: cnn}\n"  # of the group, which a typed mask leaves
)


def test_a_drawn_mask_is_not_taken_for_the_share_that_its_group_has(tmp_path):
    windows = [[f"ddpm.start_t={t}", *[f"dip={dip}"] * (dip != "cnn")] for dip, t in product(DIPS, LEVELS)]
    windows += [["ddpm.init=noise", "ddpm.start_t=1000", f"ddpm.steps={n}"] for n in (10, 100)]
    for (operator, psnr), face, window in product(PROBLEMS.items(), FACES, windows):
        typed = [f"image.path={face}", "experiment=inpaint", operator, *window]
        said = metrics(psnr + FACES.index(face), overrides=typed)
        for row in ("noisy", "dip", "result", "noisy_window"):
            said[row] |= {"psnr": said["result"]["psnr"], "stlpips": 0.1}
        mask = operator.partition("file=")[2] or "null"
        for reverse in (False, True):  # whichever of the two a folder's order has last
            name = f"{operator[::-1] if reverse else operator}-{len(list((tmp_path / str(reverse)).glob('*')))}"
            job(tmp_path / str(reverse), typed, said, name=name.replace("/", "_"), config=CONFIG % mask)
    for reverse in (False, True):
        lines = table(jobs_in(tmp_path / str(reverse)), FACES, list(PROBLEMS))
        assert lines[0] == "| completed, no network | 10.50 | 0.100 | 20.50 | 0.100 | 0 |"
        assert (
            sum(line.startswith("| DIP (skip), from 50 in 10 steps | 10.50 | 0.100 | 20.50 |") for line in lines) == 1
        )
