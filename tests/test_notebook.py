"""The notebook of docs: its cells run, and what is stored is one whole run of them."""

import json
import socket
from pathlib import Path

import pytest
from support import ROOT

NOTEBOOK = ROOT / "docs/quickstart.ipynb"
DRAWS = ("show(", ".resize(")  # what a cell calls that leaves a picture


@pytest.fixture(scope="module")
def cells():
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def test_the_cells_run_in_order_without_a_network(cells, short_fits, monkeypatch):
    import matplotlib.pyplot as plt

    def refuse(*_):
        raise OSError("the notebook asked for a network")

    drawn = []
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda: drawn.append(plt.get_fignums()) or plt.close("all"))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    names = {}
    for cell in cells:
        exec("".join(cell["source"]), names)
    assert names["direct"].nfe == 1 and names["filled"].nfe == names["result"].nfe == 10
    assert names["image"].size == (64, 64)
    assert all(drawn)


def test_the_stored_notebook_is_one_run_from_its_first_cell(cells):
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        source, outputs = "".join(cell["source"]), cell["outputs"]
        assert outputs, source
        assert all(output.get("name") != "stderr" and output["output_type"] != "error" for output in outputs), source
        if any(call in source for call in DRAWS):
            assert any("image/png" in output.get("data", {}) for output in outputs), source


def test_the_stored_notebook_is_small_and_names_no_folder_of_the_machine_that_ran_it():
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 1.5e6
    assert not any(path in text for path in (str(ROOT), str(Path.home()), "site-packages"))
