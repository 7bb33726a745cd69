"""Imports go down the layers only and in no circle, and the command line answers without torch."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest
from support import ROOT

# The packages and top-level modules, lowest first: each may import those before it.
LAYERS = (
    *("errors", "names", "registry", "files", "ownership", "seeds", "progress", "surroundings", "environment", "gpu"),
    *("config", "pictures", "degradation", "metrics", "dip", "fits", "diffusion", "runs", "cli", "study"),
)
LONGEST = 400  # lines of a file
MOST_ARGUMENTS = 8
FILES = sorted((ROOT / "dipddpm").rglob("*.py"))
MODULES = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in FILES}


def imported(path):
    """The package's modules that a file imports, wherever in the file, for type checkers too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dipddpm":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                names.add(whole if whole in MODULES else str(node.module))
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.split(".")[0] == "dipddpm"}
    return names & set(MODULES)


def layer(module):
    return LAYERS.index(module.split(".")[1])


@pytest.mark.parametrize("module", [m for m in MODULES if m != "dipddpm"])
def test_imports_go_down(module):
    for other in imported(MODULES[module]):
        assert other != "dipddpm", f"{module} imports the package, which imports everything"
        assert layer(other) <= layer(module), f"{module} imports {other}"


def test_modules_import_one_another_in_no_circle():
    TopologicalSorter({m: imported(path) - {m} for m, path in MODULES.items()}).prepare()  # raises CycleError


def test_nothing_below_the_runs_knows_the_configuration():
    knowing = {m.split(".")[1] for m, path in MODULES.items() if any("dipddpm.config" in o for o in imported(path))}
    assert knowing == {"config", "runs", "cli"}


def test_test_modules_import_no_other_test_module():
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.split(".")[-1].startswith("test_") for name in names), f"{path} imports a test module"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_as_long_as_one_idea(path):
    assert len(path.read_text().splitlines()) <= LONGEST


def arguments_of(function):
    """The names of a function's arguments, without ``self`` and the like."""
    a = function.args
    names = [arg.arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def test_no_function_takes_more_arguments_than_a_reader_can_hold():
    found = {}
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and len(arguments_of(node)) > MOST_ARGUMENTS:
                found[f"{module}.{node.name}"] = len(arguments_of(node))
    assert not found


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
