"""A public constructor without arguments is what the command line has without overrides."""

import inspect

import pytest
import yaml
from support import ROOT

import dipddpm as dd


def values_of(group, choice):
    return yaml.safe_load((ROOT / "conf" / group / f"{choice}.yaml").read_text())


def test_a_window():
    conf = values_of("ddpm", "window")
    window = dd.Window()
    named = [n for n in vars(window) if n != "seed"]  # null there: the seed of the run
    assert {n: getattr(window, n) for n in named} == {n: conf[n] for n in named}
    called = inspect.signature(dd.WindowPipeline.__call__).parameters
    assert [called[n].default for n in ("start_t", "end_t", "num_inference_steps", "init")] == [
        conf[n] for n in ("start_t", "end_t", "steps", "init")
    ]


@pytest.mark.parametrize("kind", ["gaussian", "poisson", "impulse", "random_impulse", "correlated"])
def test_a_noise(kind):
    assert {"kind": kind} | vars(dd.NOISES[kind]()) == values_of("noise", kind)


def test_an_operator():
    assert dd.Mask().missing == values_of("operator", "mask")["missing"]
    assert dd.Downscale().factor == values_of("operator", "downscale")["factor"]
    for made in (dd.Sensing(), dd.Jpeg(), dd.Clip()):
        conf = values_of("operator", made.name)
        own = {name: value for name, value in made.record().items() if name in conf}
        assert own == conf | {"quality": 10} if made.name == "jpeg" else own == conf
    blur = values_of("operator", "blur")
    for made in (dd.Blur.gaussian(), dd.Blur.motion()):
        shape = made.shape | {"border": made.border}
        assert shape == {"kernel": shape["kernel"]} | {name: blur[name] for name in shape if name != "kernel"}


def test_the_rule_and_the_prior():
    loading = inspect.signature(dd.load_prior).parameters
    assert values_of("ddpm", "window")["precision"] == loading["precision"].default == "auto"
    assert values_of("stopping", "loss_floor")["rule"] == inspect.signature(dd.fit_dip).parameters["stopping"].default
    assert values_of("prior", "faces64")["name"] == inspect.signature(dd.load_prior).parameters["name"].default
