"""The recorded fit of the benches: it is the project's fit, and its averages have their closed forms."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import dipddpm as dd
from bench.averages import kept, kept_epoch
from bench.recorded import End, Outputs, Recipe, Records, record
from dipddpm.dip.settings import DipSettings

DECAYS = (0.5, 0.9)


@pytest.mark.parametrize(("network", "input_noise"), [("skip", 0.1), ("cnn", 0.0)])
@pytest.mark.usefixtures("on_cpu")
def test_a_recorded_fit_is_bit_equal_to_the_projects(network, input_noise):
    small = {"layers": 1, "channels": 4, "input_noise": input_noise, "max_epochs": 20}
    problem = dd.degrade(torch.rand(1, 3, 7, 11, generator=torch.Generator().manual_seed(0)), dd.Gaussian(25))
    settings = DipSettings.of(network, **small)
    said = record(problem, Recipe(settings, decays=DECAYS), End(20), seed=3)
    averaged, plain = (
        dd.fit_dip(problem, settings=replace(settings, ema=d), stopping="never", seed=3) for d in (0.9, 0)
    )
    assert said["psnr"] == pytest.approx(plain.curves.column("psnr"), abs=1e-5)
    assert said["loss"] == plain.curves.column("loss_noisy").tolist()
    assert problem.clean is not None
    for picture, said_of in ((plain.picture, said["none"]), (averaged.picture, said["outputs"]["0.9"])):
        assert said_of[-1] == pytest.approx(dd.psnr(picture, problem.clean).item(), abs=1e-4)
    assert said["outputs"]["0.5"][0] == pytest.approx(said["psnr"][0], abs=1e-5), "one output is its own average"


def test_the_average_of_outputs_weighs_them_by_the_powers_of_its_decay():
    x = torch.rand(4, 1, 3, 5, 7, generator=torch.Generator().manual_seed(1))
    outputs = Outputs(DECAYS)
    for i, one in enumerate(x):
        average = outputs.update(one)
        for d, corrected, first in zip(DECAYS, average, outputs.from_first(), strict=True):
            w = torch.tensor([d**j for j in range(i, -1, -1)])
            expected = (w[:, None, None, None] * x[: i + 1, 0]).sum(0) / w.sum()
            assert torch.allclose(corrected, expected, atol=1e-6)
            v = w * torch.tensor([1.0] + [1 - d] * i)  # the first output stands for all before it
            assert torch.allclose(first, (v[:, None, None, None] * x[: i + 1, 0]).sum(0), atol=1e-6)


def test_the_kept_picture_is_that_of_the_newest_multiple_of_ten():
    said = {"rules": {"loss_floor": [29, 31]}, "none": [1.0, 2.0, 3.0], "weights": {"0.9": [4.0, 5.0, 6.0]},
            "outputs": {"0.9": list(np.arange(40.0))}}  # fmt: skip
    epoch = kept_epoch(said)
    assert (epoch, *(kept(said, v, epoch) for v in ("none", "weights 0.9", "outputs 0.9"))) == (20, 2.0, 5.0, 19.0)


def test_a_half_written_record_is_left_out(tmp_path):
    records = Records(tmp_path / "fits.jsonl")
    records.append({"picture": "a"}, {"psnr": [1.0]})
    with records.path.open("a") as file:
        file.write('{"fit": {"pic')
    records.append({"picture": "b"}, {"psnr": [2.0]})
    assert records.names() == {json.dumps({"picture": "a"}), json.dumps({"picture": "b"})}
