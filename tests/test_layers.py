"""Imports go downwards only, files stay small, and the command line answers without torch."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest
from conftest import ROOT

LAYERS = [
    {"errors", "files", "checks", "degrade_checks", "config", "jobs"},
    {"images", "masks", "panels", "degrade", "noise", "networks", "curves", "variance", "stopping", "seeds"}
    | {"operators", "metrics", "perceptual"},
    {"problem", "diffusion", "consistency", "sampler", "restoration"}
    | {"prior", "prior_folder", "environment", "dip", "operations"},
    {"fits", "tracking", "progress", "report", "study"},
    {"callbacks"},
    {"fitting"},
    {"outputs", "results"},
    {"starting", "fingerprints"},
    {"file_checks", "runs", "cli", "explain", "launch"},
]
DEPTH = {name: depth for depth, names in enumerate(LAYERS) for name in names}
MODULES = sorted((ROOT / "dipddpm").rglob("*.py"))


def module_name(path):
    parts = path.relative_to(ROOT / "dipddpm").with_suffix("").parts
    return parts[0]


def imported(path, *, when_run=False):
    """Names of the package's modules that a file imports, wherever in the file; of what is for type checkers, too."""
    names = set()
    tree = ast.parse(path.read_text())
    for_types = {id(n) for block in ast.walk(tree) if when_run and _for_types_only(block) for n in ast.walk(block)}
    for node in (n for n in ast.walk(tree) if id(n) not in for_types):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dipddpm":
            parts = (node.module or "").split(".")
            names |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("dipddpm.")}
    return names


def _for_types_only(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
    name = module_name(path)
    if name == "__init__":
        assert imported(path) == set()
        return
    for other in imported(path) - {name}:
        assert DEPTH[other] <= DEPTH[name], f"{name} imports {other}"


def test_imports_within_a_layer_go_round_in_no_circle():
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        graph.setdefault(module_name(path), set()).update(imported(path, when_run=True) - {module_name(path)})
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_only_the_top_knows_the_config():
    knowing = {module_name(p) for p in MODULES if "config" in imported(p)}
    assert knowing == {"starting", "fingerprints", "runs", "cli", "explain", "launch"} | {
        "checks",
        "degrade_checks",
        "file_checks",
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 250


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["--cfg", "job"], 0), (["dip.lyers=3"], 2)])
def test_the_command_line_answers_without_torch(arguments, code, tmp_path):
    script = f"""
import atexit, runpy, sys
sys.argv = ['sample.py', *{arguments!r}]
heavy = {{'torch', 'diffusers', 'pytorch_lightning', 'matplotlib', 'skimage'}}
atexit.register(lambda: print('HEAVY', sorted(heavy & set(sys.modules))))
runpy.run_path({str(ROOT / "sample.py")!r}, run_name='__main__')
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}
    )
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr
    assert done.returncode == code
