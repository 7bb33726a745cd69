"""The defaults in Python are those of the configuration files."""

import pytest
import yaml
from support import ROOT

from dipddpm.dip.settings import DipSettings


@pytest.mark.parametrize("network", ["cnn", "skip"])
def test_the_defaults_are_those_of_conf(network):
    files = ["cnn", network]  # the other files hold what differs from the plain network's
    values = {}
    for name in files:
        values |= yaml.safe_load((ROOT / f"conf/dip/{name}.yaml").read_text())
    for of_the_job in ("defaults", "batch"):
        values.pop(of_the_job, None)
    assert DipSettings.of(network) == DipSettings(**values)


def test_the_presets_can_be_changed():
    assert DipSettings.of("skip", layers=3) == DipSettings("skip", 3, 16, final_relu=False, lr=1e-2)
    assert DipSettings.of("mine") == DipSettings("mine")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lr": 0}, "lr must be above 0, got 0"),
        ({"channels": 0}, "channels must be 1 or more, got 0"),
        ({"max_epochs": 2e3}, "max_epochs must be a whole number, got 2000.0"),
        ({"ema": 1}, r"ema must be from 0 \(the newest output\) to below 1, got 1"),
        ({"input_noise": -0.1}, "input_noise must be 0 or more, got -0.1"),
        ({"precision": "fp16"}, "precision must be fp32, tf32, bf16, auto, got fp16"),
    ],
)
def test_values_out_of_range_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        DipSettings(**changes)
