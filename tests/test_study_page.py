"""The page of a study: what it says, what it escapes, and that a browser shows it from disk alone."""

import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from browser import chromium
from study_jobs import job, metrics, table

from dipddpm.study import build

NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}",
    "[1,2]",
    "a=b/c&d;e",
    "ünï 日本 $x_{",
]


class Reader(HTMLParser):
    """Collects the tags with their attributes, and the text of each table's cells."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.cells, self.open = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")
            self.open = True

    def handle_endtag(self, tag):
        self.open = self.open and tag not in ("td", "th")

    def handle_data(self, data):
        if self.open:
            self.cells[-1] += data

    def links(self):
        return [attrs[name] for _, attrs in self.tags for name in ("src", "href") if name in attrs]


@pytest.fixture
def nasty(tmp_path):
    """A sweep whose overrides, errors and folder names hold what could be read as HTML or as a URL."""
    folder = tmp_path / "sweep"
    for i, text in enumerate(NASTY):
        name = None if i else "a b#c?d%20&'\"<i>"
        job(folder, [f"image.path={text}", "dip.layers=4"], metrics(20.0 + i, nfe=100 - i), pictures=True, name=name)
        job(folder, [f"image.path={text}", "dip.layers=10"], error=f"no: {text}")
    job(folder, ["image.path=x", "dip.layers=10"])
    return folder


def test_whatever_jobs_say_stays_text(nasty):
    text = build(nasty).read_text(encoding="utf-8")
    page = Reader(text)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert text.lower().count("<script") == 1
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert "49" not in page.cells
    for value in NASTY:
        assert value in page.cells
        assert f"no: {value}" in page.cells
        assert value in [attrs.get("title") for _, attrs in page.tags]


def test_every_link_is_relative_and_leads_to_a_file(nasty):
    page = Reader(build(nasty).read_text(encoding="utf-8"))
    links = set(page.links()) - {"data:,"}
    assert len(links) > 50
    for link in links:
        assert not link.startswith(("/", "http:", "https:", "file:", "//"))
        assert (nasty / unquote(link)).exists(), link
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert all((nasty / unquote(attrs["src"])).is_file() and attrs["alt"] for attrs in images)


def test_the_page_counts_jobs_names_errors_and_tells_both_costs(tmp_path):
    job(tmp_path, ["a=1"], metrics(25.0, nfe=50, fit="aa", fit_seconds=100.0), pictures=True)
    job(tmp_path, ["a=2"], metrics(27.0, nfe=100, fit="aa", fit_seconds=100.0), pictures=True)
    job(tmp_path, ["a=3"], error="the fit diverged")
    job(tmp_path, ["a=4"], error="the fit diverged")
    job(tmp_path, ["a=5"])
    text = build(tmp_path).read_text()
    for part in ("2 complete", "2 failed", "1 unfinished", "27.00 dB", "26.50 dB", "1 min 55 s", "3 min 35 s"):
        assert part in text  # 100 + 5 + 10 seconds with the fit once, 215 with it twice
    failed = text[text.index("<h2>Failed") : text.index("<h2>Quality")]
    assert failed.count("the fit diverged") == 1
    assert "a=3" in failed and "a=4" in failed
    assert text.count("●") == 1 + 2  # said once, and both jobs are on the front


def test_the_first_column_says_what_differs_and_keeps_the_slug(tmp_path):
    constant = [f"dip.channels={'8' * 60}", "seed=1"]
    for start_t, path in ((25, "anna"), (50, "anna"), (25, "bert")):
        overrides = [*constant, f"ddpm.start_t={start_t}", f"image.path=/a/very/long/folder/of/faces/{path}.png"]
        job(tmp_path, overrides, metrics())
    page = Reader(build(tmp_path).read_text(encoding="utf-8"))
    slugs = {p.name for p in tmp_path.iterdir() if (p / ".hydra").is_dir()}
    assert "start_t=25, path=…der/of/faces/bert.png" in page.cells, "the end of a long path tells more"
    assert slugs <= {attrs.get("title") for tag, attrs in page.tags if tag == "a"}
    assert {row["job"] for row in table(tmp_path)} == slugs
    groups = page.cells[page.cells.index("swept") : page.cells.index("job")]
    assert [group for group in groups if group] == ["swept", "PSNR (dB)", "cost", "SSIM", "fit"]


def test_the_page_explains_the_cost_by_operations_not_seconds(tmp_path):
    job(tmp_path, ["a=1"], metrics(25.0, nfe=50))
    job(tmp_path, ["a=2"], metrics(29.0, nfe=50, fit=None))  # from a file: no total, not on the front
    text = build(tmp_path).read_text()
    caption = text[text.index("<figcaption>") : text.index("</figcaption>")]
    assert "floating-point operations over those of one evaluation" in caption
    assert text.count("<td>●</td>") == 1
    assert [row["total_evaluations_worth"] for row in table(tmp_path)] == ["130.0", ""]


def test_absent_figures_are_empty_cells(tmp_path):
    job(tmp_path, ["a=1"], metrics(None, fit=None), pictures=True)
    job(tmp_path, ["a=2"], error="no")
    page = Reader(build(tmp_path).read_text())
    assert not {"0", "0.0", "0.00", "0.000", "None", "nan"} & set(page.cells)
    assert page.cells.count("") > 20


@pytest.fixture
def browser(tmp_path):
    with chromium(tmp_path / "profile") as found:
        yield found


def open_page(browser, path: Path):
    """Open a page from disk and return the requests that it made."""
    browser.get("data:,")
    browser.get_log("performance")  # of the browser's own start page
    browser.get(path.resolve().as_uri())
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def column(browser, number):
    script = "return [...document.querySelectorAll('#jobs tbody tr')].map((r) => r.cells[arguments[0]].textContent)"
    return browser.execute_script(script, number)


def test_a_browser_shows_it_from_disk_and_sorts_it(browser, nasty):
    requests = open_page(browser, build(nasty))
    assert browser.get_log("browser") == []
    assert requests and all(url.startswith(("file://", "data:")) for url in requests), requests
    widths = browser.execute_script("return [...document.images].map((i) => [i.src, i.complete && i.naturalWidth])")
    assert len(widths) == 2 + len(NASTY), "a chart, a heat map, the results"
    assert all(width > 0 for _, width in widths), widths

    heads = browser.execute_script(
        "return [...document.querySelectorAll('#jobs thead tr:last-child th')].map((h) => h.textContent)"
    )
    psnr = [i for i, head in enumerate(heads) if head == "result"][0]
    before = column(browser, psnr)
    known = sorted((v for v in before if v), key=float)
    empty = [""] * (len(before) - len(known))
    assert empty and before != known + empty
    buttons = browser.find_elements("css selector", "#jobs thead button")
    assert len(buttons) == len(heads) - 1
    browser.execute_script("arguments[0].click()", buttons[psnr])
    assert column(browser, psnr) == known + empty
    browser.execute_script("arguments[0].click()", buttons[psnr])
    assert column(browser, psnr) == known[::-1] + empty, "empty cells come last either way"
    layers = heads.index("layers")
    browser.execute_script("arguments[0].click()", buttons[layers])
    assert column(browser, layers) == sorted(column(browser, layers), key=int)
    browser.execute_script("arguments[0].click()", buttons[0])
    assert column(browser, psnr) == before, "the jobs' own order is a column's too"
    sorted_by = browser.execute_script("return document.querySelectorAll('#jobs [aria-sort]').length")
    assert sorted_by == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_both_colour_schemes(browser, nasty, scheme):
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
    open_page(browser, build(nasty))
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    shade = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    level = sum(map(int, shade.removeprefix("rgb(").removesuffix(")").split(","))) / 3
    assert (level < 100) is (scheme == "dark")


def test_without_javascript_the_table_is_all_there(browser, nasty):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    open_page(browser, build(nasty))
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert len(browser.find_elements("css selector", "#jobs tbody tr")) == 2 * len(NASTY) + 1
    assert not browser.find_elements("css selector", "#jobs button")


def test_the_best_without_a_dip_may_be_a_job(tmp_path):
    job(tmp_path, ["checkpoint=stop"], metrics(27.0))
    assert "<dd>57 evaluations and no fit" in build(tmp_path).read_text(), "26.5 dB, of every job"
    job(tmp_path, ["checkpoint=none"], metrics(28.0, nfe=10, fit_seconds=0.0))
    text = build(tmp_path).read_text()
    tile = text[text.index("Best without a DIP") :][:200]
    assert "28.00 dB" in tile and "10 evaluations and no fit" in tile
