"""TensorBoard itself, over a real sweep and over single runs: what it serves, and what a browser shows of it."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pytest
from hydra import compose, initialize_config_dir
from support import ROOT
from support.browser import chromium
from support.commands import SMALL, command

from dipddpm.config import compose as config
from dipddpm.runs import commands as runs
from dipddpm.runs.job import Job

PATIENCE = 60  # seconds that a loaded machine may take for one thing
CURVES = {"loss/noisy", "loss/clean", "psnr", "lr", "step_seconds", "variance/moving"}
GRIDS = {"dip/noisy", "dip/clean", "dip/z", "dip/output", "dip/best"}
DEEP = """
const deep = (root, selector) => [...root.querySelectorAll(selector), ...[...root.querySelectorAll('*')]
  .filter((e) => e.shadowRoot).flatMap((e) => deep(e.shadowRoot, selector))];
const all = (selector) => deep(document, selector);
"""


def wait(condition, what):
    """Ask until something true is answered, and return it."""
    end = time.monotonic() + PATIENCE
    while not (answer := condition()):
        assert time.monotonic() < end, f"{what}: not within {PATIENCE} s"
        time.sleep(0.1)
    return answer


class Board:
    """A running TensorBoard: its address, and its data."""

    def __init__(self, url):
        self.url = url
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy there is for others

    def data(self, path, **body):
        sent = json.dumps({"experimentName": "", **body}).encode() if body else None
        request = urllib.request.Request(f"{self.url}/data/{path}", sent, {"Content-Type": "application/json"})
        with self.opener.open(request, timeout=PATIENCE) as response:
            return json.load(response)

    def steps(self, tag, run):
        return [picture["step"] for picture in self.data(f"plugin/images/images?tag={tag}&sample=0&run={run}")]

    def has_read(self, expected):
        """Whether it is at the end of each of so many runs: requests are answered while files are being read."""
        found = self.data("plugin/scalars/tags")
        for run, tags in found.items():
            if "lr" in tags:  # a fit: its last epoch's last grid
                grids = self.data("plugin/images/tags").get(run, ())
                done = "dip/best" in grids and self.steps("dip/best", run)[-1] == 30
            else:  # the last figure of a job
                done = ("epoch/peak" if run.startswith("train_dip") else "seconds/total") in tags
            if not done:
                return False
        return len(found) == expected

    def columns(self):
        """Hyperparameters and metrics, each in the order in which the tab offers them."""
        found = self.data("plugin/hparams/experiment", includeMetrics=True)
        metrics = ["/".join(filter(None, (m["name"]["group"], m["name"]["tag"]))) for m in found["metricInfos"]]
        return {h["name"]: h for h in found["hparamInfos"]}, metrics

    def sessions(self, by, order="ORDER_ASC", others=()):
        """The rows of the HParams tab, sorted by a column."""
        names = [by, *(name for name in others if name != by)]
        columns = [{"hparam": name, "includeInResult": True} for name in names]
        columns[0]["order"] = order
        every = [f"STATUS_{s}" for s in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
        asked = {"allowedStatuses": every, "colParams": columns, "startIndex": 0, "sliceSize": 100}
        return self.data("plugin/hparams/session_groups", **asked)["sessionGroups"]


@contextmanager
def tensorboard(logdir, cwd, expected, *options):
    """Serve a folder on a free port, for as long as the block lasts, once the runs expected are read."""
    log = cwd / f"{logdir.replace('/', '-')}.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tensorboard.main", "--logdir", logdir, "--host=127.0.0.1", "--port=0", *options],
            cwd=cwd, stdout=file, stderr=file,
        )  # fmt: skip
    try:

        def address():
            assert process.poll() is None, log.read_text()
            return re.search(r"http://127\.0\.0\.1:\d+", log.read_text())

        board = Board(wait(address, "TensorBoard's address")[0])
        wait(lambda: board.has_read(expected), "the runs")
        yield board
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def home(tiny_prior, tmp_path_factory):
    """A folder with a sweep under multirun/ and one run of each command under outputs/."""
    home = tmp_path_factory.mktemp("home")
    small = [f"prior.path={tiny_prior}", *SMALL, "baselines=false", "ddpm.steps=10"]
    sweep = ["-m", *small, "panel_every=10", "dip.layers=1,2", "ddpm.start_t=10,auto", "hydra.sweep.dir=multirun/one"]
    done = command("sample.py", *sweep, cwd=home)
    assert done.returncode == 0, done.stdout + done.stderr
    config.register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for folder, run, more in (
            ("train_dip/first", runs.fit, "image.size=20"),
            ("sample/first", runs.sample, "ddpm.start_t=auto"),
        ):
            given = [*small, f"store={home / 'outputs/fits'}", more]
            run(config.typed(compose("config", overrides=given)), Job(home / "outputs" / folder))
    return home


@pytest.fixture(scope="module")
def sweep(home):
    with tensorboard("multirun/one", home, 6, "--load_fast=false") as board:
        yield board


def test_a_sweep_alone_shows_each_fit_once_windows_and_one_session_a_job(sweep, home):
    jobs = {p.parent.name: json.loads(p.read_text()) for p in (home / "multirun/one").glob("*/metrics.json")}
    fits = {f"fits/{metrics['fit']['key']}" for metrics in jobs.values()}
    assert (len(jobs), len(fits)) == (4, 2)
    assert all(re.match(r"layers=\d,start_t=(10|auto),", job) for job in jobs), "what was swept comes first"
    scalars, images = (sweep.data(f"plugin/{kind}/tags") for kind in ("scalars", "images"))
    assert set(scalars) == set(images) == set(jobs) | fits
    for fit in fits:
        assert set(scalars[fit]) == CURVES
        assert set(images[fit]) == GRIDS
    for job, metrics in jobs.items():
        assert {"panel", "strip", "fit", "restored/result"} <= set(images[job])
        steps = sweep.steps("window/state", job)
        assert steps[-1] == metrics["window"]["start_t"], "all levels were walked down"
        assert all(about["description"] for about in scalars[job].values())
        estimates = sweep.data(f"plugin/scalars/scalars?tag=window/psnr&run={job}")
        assert [step for _, step, _ in estimates][0] == 0 and len(estimates) == metrics["result"]["nfe"]
        assert abs(estimates[-1][2] - metrics["result"]["psnr"]) < 0.5
        if "ddpm.start_t=10" in metrics["overrides"]:
            assert steps == [0, 10], "the DIP output, then the result"
    assert all(sweep.steps("dip/output", fit) == [10, 20, 30] for fit in fits)

    rows = sweep.sessions("ddpm.start_t")
    assert sorted(row["name"] for row in rows) == sorted(jobs)
    for row in rows:
        assert len(row["sessions"]) == 1
        assert row["sessions"][0]["status"] == "STATUS_SUCCESS"
        metrics = jobs[row["name"]]
        values = {m["name"]["tag"]: m["value"] for m in row["metricValues"] if not m["name"]["group"]}
        assert values["PSNR/result"] == pytest.approx(metrics["result"]["psnr"])
        assert values["Cost/total_evaluations_worth"] == pytest.approx(metrics["cost"]["total_evaluations_worth"])
        assert row["hparams"]["ddpm.start_t"] == metrics["window"]["start_t"]


def test_the_swept_keys_and_the_figures_to_compare_come_first(sweep):
    hparams, metrics = sweep.columns()
    assert list(hparams)[:2] == ["ddpm.start_t", "dip.layers"]
    assert [name for name, about in hparams.items() if about["differs"]] == ["ddpm.start_t", "dip.layers"]
    assert metrics[:4] == ["Cost/total_evaluations_worth", "PSNR/dip", "PSNR/noisy", "PSNR/result"]
    assert not {"store", "objective", "fit", "panel_every"} & set(hparams)


def test_every_column_sorts_numbers_as_numbers(sweep):
    hparams, _ = sweep.columns()
    for name, about in hparams.items():
        for order in ("ORDER_ASC", "ORDER_DESC"):
            values = [row["hparams"].get(name) for row in sweep.sessions(name, order)]
            known = [v for v in values if v is not None]
            assert len({type(v) for v in known}) == 1, name
            assert known == sorted(known, reverse=order == "ORDER_DESC"), name
            assert (about["type"] == "DATA_TYPE_FLOAT64") == (not isinstance(known[0], str)), name
    assert hparams["ddpm.start_t"]["domainInterval"]["minValue"] == 10, "auto is the level that it came to"
    assert hparams["ddpm.start_t (word)"]["domainDiscrete"] == ["auto"]


def test_the_layouts_of_many_fits_are_one(sweep):
    layout = {
        category["title"]: category["chart"] for category in sweep.data("plugin/custom_scalars/layout")["category"]
    }
    losses, variances = layout["DIP"]
    comparison, estimates = layout["Restoration"]
    assert comparison["multiline"]["tag"] == ["PSNR/noisy", "PSNR/dip", "PSNR/result", "PSNR/no_dip"]
    assert estimates["multiline"]["tag"] == ["window/psnr"]
    for tag in losses["multiline"]["tag"]:
        for run in sweep.data("plugin/scalars/tags"):
            found = sweep.data(f"plugin/custom_scalars/scalars?tag={tag}&run={run}")
            assert found["regex_valid"]
            assert list(found["tag_to_events"]) == ([tag] if run.startswith("fits/") else [])
    assert variances["multiline"]["tag"] == ["variance/window", "variance/moving"]


def test_single_runs_of_both_commands_share_a_table(home):
    with tensorboard("outputs", home, 5) as board:  # the loader that `tensorboard` takes by itself
        runs = set(board.data("plugin/images/tags"))
        jobs = {"sample/first", "train_dip/first"}
        assert {run for run in runs if not run.startswith("fits/")} == jobs
        assert len(runs) == 2 + 3, "with the two fits of the sweep"
        hparams, metrics = board.columns()
        assert {"PSNR/result", "PSNR/dip", "Cost/total_evaluations_worth"} <= set(metrics)
        rows = {row["name"]: row["hparams"] for row in board.sessions("image.size", others=hparams)}
        assert set(rows) == jobs
        assert not any(name.startswith(("ddpm.", "prior.")) for name in rows["train_dip/first"]), (
            "it reads none of them"
        )
        assert rows["train_dip/first"]["image.size"] == 20
        assert rows["sample/first"]["image.size (word)"] == "auto"
        assert rows["sample/first"]["ddpm.start_t"] > 20


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def look(browser, sweep):
    """Open a tab and ask it, by JavaScript that sees through shadow roots, until it answers."""

    def look(tab, script, what):
        if tab:
            browser.get("about:blank")  # another fragment alone would not load the page anew
            browser.get(f"{sweep.url}/#{tab}")
        return wait(lambda: browser.execute_script(DEEP + script), what)

    yield look
    toasts = browser.execute_script(DEEP + "return all('paper-toast, mat-snack-bar-container').map((e) => e.innerText)")
    assert not [text for text in toasts if text.strip()]
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_a_browser_draws_the_curves(look):
    tags = look(
        "scalars&tagFilter=loss",
        """const cards = all('tf-scalar-card').filter((c) => c.tag.startsWith('loss/'));
        const long = (c) => deep(c.shadowRoot, 'path').filter((p) => (p.getAttribute('d') || '').length > 300);
        return cards.length && cards.every((c) => long(c).length >= 2) && cards.map((c) => c.tag)""",
        "two fits' curves in each chart",
    )
    assert sorted(tags) == ["loss/clean", "loss/noisy"]


def test_a_browser_draws_both_losses_in_one_chart(look):
    title = look(
        "custom_scalars",
        """const card = all('tf-custom-scalar-multi-line-chart-card')[0];
        const long = () => deep(card.shadowRoot, 'path').filter((p) => (p.getAttribute('d') || '').length > 300);
        return card && card.shadowRoot && long().length >= 4 && card.title""",
        "two curves of each of two fits",
    )
    assert title == "loss to the noisy and to the clean picture"


def test_a_browser_shows_the_pictures_with_their_steps(look, home):
    shown = look(
        "images&tagFilter=window/state",
        """const cards = all('tf-image-loader').filter((c) => c.tag == 'window/state');
        const images = cards.map((c) => deep(c.shadowRoot, 'img')[0]);
        return cards.length == 4 && images.every((i) => i && i.complete && i.naturalWidth == 16)
          && cards.map((c) => [c.run, deep(c.shadowRoot, '.heading-row').map((h) => h.innerText).join(' ')])""",
        "the results of four windows",
    )
    for run, text in shown:
        metrics = json.loads((home / "multirun/one" / run / "metrics.json").read_text())
        assert re.search(rf"step {metrics['window']['start_t']}\b", " ".join(text.split()))


def test_a_browser_shows_and_sorts_the_table(look):
    cells = """const view = all('tf-hparams-table-view')[0];
        const rows = view && deep(view.shadowRoot, 'vaadin-grid-cell-content').map((c) => c.innerText.trim());
        """
    table = look("hparams", cells + "return rows && rows.filter((c) => /start_t=/.test(c)).length == 4 && rows", "rows")
    heads = table[2 : table.index("")]
    assert heads[:2] == ["ddpm.start_t", "dip.layers"]
    assert heads[5:9] == ["Cost/total_evaluations_worth", "PSNR/dip", "PSNR/noisy", "PSNR/result"]
    names = [text for text in table if "start_t=" in text]
    look(
        None,
        """const items = deep(all('tf-hparams-query-pane')[0].shadowRoot, 'paper-item');
        for (const name of ['ddpm.start_t', 'Descending'])
          items.find((i) => i.textContent.trim() == name).click();
        return true""",
        "the sorting",
    )
    order = look(
        None,
        cells
        + """const names = rows.filter((c) => /start_t=/.test(c));
        return names.length == 4 && names[0].includes('auto') && names[1].includes('auto') && names""",
        "the highest levels first",
    )
    assert sorted(order) == sorted(names)
    assert order != names
