"""Hydra's private functions do what this project uses of them, and are used in one file."""

import ast

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from support import ROOT

from dipddpm.config import compose as config
from dipddpm.config.hydra_private import (
    ConfigLoaderImpl,
    apply_overrides,
    grid_points,
    list_groups_without_copies,
    parse_arguments,
)


def parsed(*overrides):
    return OverridesParser.create().parse_overrides(list(overrides))


def test_options_overrides_and_the_rest_are_told_apart():
    args, unread = parse_arguments(["-m", "dip.layers=4,6", "seed=1", "--cfg", "job", "-cd", "mine"])
    assert (args.multirun, args.overrides, args.cfg, args.config_dir) == (
        True,
        ["dip.layers=4,6", "seed=1"],
        "job",
        "mine",
    )
    assert (args.help, args.hydra_help, args.info, args.shell_completion, args.config_name, args.config_path) == (
        False, False, None, False, None, None)  # fmt: skip
    assert not unread
    assert parse_arguments(["seed=1", "-m", "dip.layers=4"])[1] == ["dip.layers=4"], "options come first"


def test_values_of_a_composed_configuration_are_changed_as_composing_does():
    config.register()
    typed = ["dip.layers=6", "image.box=[1,2,3,4]", "noise.sigma=10"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg, wanted = compose("config"), compose("config", overrides=typed)
    apply_overrides(parsed(*typed), cfg)
    assert cfg == wanted


def test_a_grid_has_the_jobs_of_hydras_sweeper_in_its_order():
    assert grid_points(parsed("dip.layers=4,6", "seed=1", "ddpm.start_t=range(10,30,10)")) == [
        ["dip.layers=4", "seed=1", "ddpm.start_t=10"],
        ["dip.layers=4", "seed=1", "ddpm.start_t=20"],
        ["dip.layers=6", "seed=1", "ddpm.start_t=10"],
        ["dip.layers=6", "seed=1", "ddpm.start_t=20"],
    ]
    assert grid_points(parsed("ddpm.start_t=range(1,1)")) == []


def test_the_groups_of_help_are_listed_as_hydra_lists_them_without_copies(monkeypatch):
    monkeypatch.setattr(ConfigLoaderImpl, "get_group_options", ConfigLoaderImpl.get_group_options)  # put back after
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        asked = [(g, kind) for g in ("", "dip", "hydra", "hydra/launcher", "none") for kind in ObjectType]
        wanted = [loader.get_group_options(*one) for one in asked]
        list_groups_without_copies()
        copied = "hydra._internal.config_loader_impl.CachingConfigRepository"
        monkeypatch.setattr(copied, lambda repository: pytest.fail("the store was copied"))
        assert [loader.get_group_options(*one) for one in asked] == wanted
        assert "skip" in loader.get_group_options("dip")


def test_no_other_file_imports_what_is_private():
    found = set()
    for path in (path for package in ("dipddpm", "prior_training", "bench") for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hydra._internal"):
                found.add(path.name)
    assert found == {"hydra_private.py"}
