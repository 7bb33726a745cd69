"""The page of a study: what it says, what it escapes, and that a browser shows it from disk alone."""

import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from support.browser import chromium
from support.study_jobs import fit_metrics, job, metrics

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
    scripts = [tag for tag, _ in page.tags].count("script")
    assert scripts == 2 + 2, "plotly, the page's own, one for the chart and one for the heat map"
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert "49" not in page.cells
    for value in NASTY:
        assert value in page.cells
        assert f"no: {value}" in page.cells


def test_every_link_is_relative_and_leads_to_a_file(nasty):
    page = Reader(build(nasty).read_text(encoding="utf-8"))
    links = set(page.links()) - {"data:,"}
    assert len(links) > 25
    for link in links:
        assert not link.startswith(("/", "http:", "https:", "file:", "//"))
        assert (nasty / unquote(link)).exists(), link
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert all((nasty / unquote(attrs["src"])).is_file() and attrs["alt"] for attrs in images)


def test_the_first_column_tells_jobs_apart_and_its_title_is_the_folder(tmp_path):
    for start_t, path in ((25, "anna"), (50, "anna"), (25, "bert")):
        job(tmp_path, ["seed=1", f"ddpm.start_t={start_t}", f"image.path={path}.png"], metrics())
    page = Reader(build(tmp_path).read_text(encoding="utf-8"))
    assert "start_t=25, path=bert.png" in page.cells
    folders = {p.name for p in tmp_path.iterdir() if (p / ".hydra").is_dir()}
    assert folders == {attrs["title"] for tag, attrs in page.tags if tag == "a" and "title" in attrs}


def test_jobs_of_points_on_the_front_are_marked(tmp_path):
    for layers, psnrs in (("4", (20.0, 30.0)), ("6", (21.0, 28.0))):
        for path, psnr in zip(("a", "b"), psnrs, strict=True):
            job(tmp_path, [f"image.path={path}", f"dip.layers={layers}"], metrics(psnr))
    page = Reader(build(tmp_path).read_text(encoding="utf-8"))
    assert page.cells.count("●") == 2
    assert page.cells[page.cells.index("PSNR (dB)") + 1 :][:3] == ["layers=4", "130.0", "25.00"]


def test_absent_figures_are_empty_cells(tmp_path):
    job(tmp_path, ["a=1"], metrics(None, fit=None), pictures=True)
    job(tmp_path, ["a=2"], error="no")
    page = Reader(build(tmp_path).read_text())
    assert not {"0", "0.0", "0.00", "0.000", "None", "nan", "<NA>"} & set(page.cells)
    assert "" in page.cells


def test_a_page_of_fits_shows_dip_outputs(tmp_path):
    for layers in "46":
        job(tmp_path, [f"dip.layers={layers}"], fit_metrics(), pictures=True)
    text = build(tmp_path).read_text()
    assert text.count("/dip.png") == 2 and "/result.png" not in text
    assert "Best DIP output of a job: 23.00 dB" in text


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (None, "no job is complete yet"),
        (metrics(None), "no job has a PSNR of its result. A PSNR needs a clean picture."),
        (fit_metrics() | {"dip": {"nfe": 0}}, "no job has a PSNR of its DIP output. A PSNR needs a clean picture."),
        (metrics(fit=None), "no job with a PSNR has a total cost"),
    ],
)
def test_the_page_says_why_there_is_no_chart(said, why, tmp_path):
    job(tmp_path, ["a=1"], said)
    text = build(tmp_path).read_text()
    assert f"There is no chart: {why}" in text
    assert "Pareto front</th>" not in text
    assert len(text) < 100_000, "plotly's script is in the page only where a chart needs it"


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


CLICK = """
const chart = document.getElementById("quality");
chart.emit("plotly_click", { points: [{ customdata: arguments[0] }] });
"""


def test_a_browser_shows_it_from_disk_and_sorts_it(browser, nasty):
    requests = open_page(browser, build(nasty))
    assert browser.get_log("browser") == []
    assert requests and all(url.startswith(("file://", "data:", "blob:")) for url in requests), requests
    drawn = browser.execute_script("return [...document.querySelectorAll('.js-plotly-plot')].map((d) => d.id)")
    assert drawn == ["quality", "map0"]
    points = browser.execute_script("return document.querySelectorAll('#quality .scatterlayer .point').length")
    assert points == 3, "the mean over the pictures, and both starts without a DIP"

    heads = browser.execute_script("return [...document.querySelectorAll('#jobs th')].map((h) => h.textContent)")
    psnr = heads.index("result PSNR (dB)")
    before = column(browser, psnr)
    known = sorted((v for v in before if v), key=float)
    empty = [""] * (len(before) - len(known))
    assert empty and before != known + empty
    buttons = browser.find_elements("css selector", "#jobs thead button")
    assert len(buttons) == len(heads)
    browser.execute_script("arguments[0].click()", buttons[psnr])
    assert column(browser, psnr) == known[::-1] + empty, "the best quality first"
    browser.execute_script("arguments[0].click()", buttons[psnr])
    assert column(browser, psnr) == known + empty, "empty cells come last either way"
    layers = heads.index("layers")
    browser.execute_script("arguments[0].click()", buttons[layers])
    assert column(browser, layers) == sorted(column(browser, layers), key=int)
    assert browser.execute_script("return document.querySelectorAll('#jobs [aria-sort]').length") == 1


def test_a_click_on_a_point_filters_the_table_or_opens_the_panel(browser, nasty):
    open_page(browser, build(nasty))
    browser.execute_script(CLICK, [0, 2])
    shown = "return [...document.querySelectorAll('#jobs tbody tr')].filter((r) => r.offsetHeight).length"
    assert browser.execute_script(shown) == 2
    browser.execute_script("document.getElementById('all').click()")
    assert browser.execute_script(shown) == 2 * len(NASTY) + 1
    complete = column(browser, 4).index("complete")
    browser.execute_script(CLICK, [complete])
    assert browser.current_url.endswith("/panel.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_both_colour_schemes(browser, nasty, scheme):
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
    open_page(browser, build(nasty))
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    level = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]].match(/[0-9.]+/g)[0]"
    assert (float(browser.execute_script(level, "body", "backgroundColor")) < 100) is (scheme == "dark")
    assert (float(browser.execute_script(level, "#quality .xtick text", "fill")) > 150) is (scheme == "dark")


def test_on_a_phone_the_labels_of_a_chart_with_many_colours_are_whole(browser, tmp_path):
    for start_t in range(25, 225, 25):
        job(tmp_path, [f"ddpm.start_t={start_t}"], metrics(24.0 + start_t / 50, nfe=start_t))
    size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    open_page(browser, build(tmp_path))
    box = "const r = document.querySelector(arguments[0]).getBoundingClientRect(); "
    box += "return [r.left, r.top, r.right, r.bottom]"
    chart, x, y, legend, plot = (
        browser.execute_script(box, f"#quality {part}")
        for part in (".main-svg", ".xtitle", ".ytitle", ".legend", ".nsewdrag")
    )
    assert chart[0] <= y[0] and chart[1] <= y[1] and y[3] <= x[1], "whole, and above the other"
    assert plot[3] <= x[1] and x[3] <= legend[1] and legend[3] <= chart[3] and x[2] <= chart[2]
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    heads = (
        "return [...document.querySelectorAll('#jobs th')].map((h) => [h.textContent, h.getBoundingClientRect().right])"
    )
    name, right = browser.execute_script(heads)[1]
    assert name == "front" and right < 700, "the mark of the front is seen without scrolling"


def test_without_javascript_the_table_is_all_there(browser, nasty):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    open_page(browser, build(nasty))
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert len(browser.find_elements("css selector", "#jobs tbody tr")) == 2 * len(NASTY) + 1
    assert not browser.find_elements("css selector", "#jobs button")
