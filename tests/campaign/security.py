"""Hostile files and folders: nothing outside the run's own folders is written, removed or run."""

from __future__ import annotations

import csv
import html.parser
import json
import os
import re
import shutil
from pathlib import Path

from campaign.children import run as run_child
from campaign.commands import EXTENDED, FIT, SWEEP, WINDOW
from campaign.desk import Desk

LINKS = 14  # trials with a link in the place of a file of the project's own
OWN = ("notes.txt", "photo.png", "panel.png", "events.out.tfevents.1.x")  # files of the user's, in `_user`
PRECIOUS = "precious"
STORE_LINKS = ("uses.txt", "summary.json", "fit.json", "manifest.json", "curves-000060.npz", "state-000060.ckpt",
               "epochs", "epochs/000030.safetensors", "../.KEY.lock")  # fmt: skip
JOB_LINKS = ("metrics.json", "config.yaml", "result.png", "panel.png", "error.txt", ".job.lock", "fit", "sample.log",
             ".hydra/config.yaml", ".hydra")  # fmt: skip
STUDY_LINKS = ("summary", "summary.csv", "summary.md", "index.html", ".study.lock", ".study.stale")
HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onmouseover='alert(1)", "{{ 7*7 }}",
           "javascript:alert(1)", "</td></table><h1>x", "=1+1", "+1+1", "@SUM(1)", "\t=1", "$\\unknown{$", "a|b",
           "[x](javascript:alert(1))", "[bold red]x", "\x1b[31mred", "a\n\n<img src=x onerror=alert(1)>\n\nb",
           "<!--", "%s%n", "${oc.env:HOME}", "x" * 300)  # fmt: skip
GHOSTSCRIPT = "#!/bin/sh\ntouch '{}'\nexit 1\n"
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nnewpath\n%%EOF\n"


def run(desk: Desk) -> None:
    """Run all parts."""
    for name, command in {"fit": FIT, "sweep": SWEEP}.items():
        done = run_child(command, desk.folder(name))
        assert done.code == 0, done.text
    _links(desk)
    _folders_of_others(desk)
    _manager(desk)
    _page(desk)
    _postscript(desk)


def _user(desk: Desk) -> Path:
    """Return the folder of a user, made anew, whose files no run may touch."""
    user = desk.work / "user"
    shutil.rmtree(user, ignore_errors=True)
    user.mkdir()
    for name in OWN:
        (user / name).write_text(PRECIOUS)
    return user


def _touched(user: Path, made: bool = True) -> list[str]:
    """Return which files of the user's were changed, and which were made beside them."""
    changed = [n for n in OWN if not (user / n).is_file() or (user / n).read_text(errors="replace") != PRECIOUS]
    new = [p.name for p in user.iterdir() if p.name not in OWN] if made else []
    return [f"changed: {n}" for n in changed] + [f"made: {n}" for n in new]


def _copy(desk: Desk, base: str) -> Path:
    copy = desk.work / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(desk.work / base, copy, symlinks=True)
    return copy


def _links(desk: Desk) -> None:
    """Put a link to a user's file in the place of a file of a fit, a job or a study; then run what writes there."""
    places = [("fit", name) for name in STORE_LINKS]
    places += [("job", name) for name in JOB_LINKS] + [("study", name) for name in STUDY_LINKS]
    for where, name in desk.rng.sample(places, min(desk.number(LINKS), len(places))):
        user, copy = _user(desk), _copy(desk, "fit" if where == "fit" else "sweep")
        command = {"fit": EXTENDED, "job": SWEEP, "study": ["-m", "dipddpm.study", "out"]}[where]
        (fit,) = list(copy.glob("fits/*/"))[:1]
        job = min(copy.glob("out/*/metrics.json")).parent if where == "job" else copy
        (job / "metrics.json").unlink(missing_ok=True)  # the job has to run again
        path = {"fit": fit, "job": job, "study": copy / "out"}[where] / name.replace("KEY", fit.name)
        folder = path.is_dir()
        shutil.rmtree(path) if folder and not path.is_symlink() else path.unlink(missing_ok=True)
        path.symlink_to(user if folder else user / OWN[0])
        done = run_child(command, copy)
        faults = done.faults(0, 1, 2) + _touched(user)  # 1: a job of the sweep failed, in a line
        desk.judge(f"{where}: {name} is a link elsewhere", faults, done.text)


def _folders_of_others(desk: Desk) -> None:
    """Name a folder as the output that holds files of the user's, or of another program."""
    user = _user(desk)
    (user / "summary").mkdir()
    theirs = [user / "summary/mine.png", user / "index.html"]
    for path in theirs:
        path.write_text(PRECIOUS)
    done = run_child([a for a in SWEEP if "sweep.dir" not in a] + ["hydra.sweep.dir=."], user)
    lost = [f"lost: {p.name}" for p in theirs if not p.is_file() or p.read_text(errors="replace") != PRECIOUS]
    desk.judge("hydra.sweep.dir=. with a page and pictures of the user's", done.faults(0, 2) + lost, done.text)

    user = _user(desk)
    done = run_child([a for a in FIT if "run.dir" not in a] + ["hydra.run.dir=."], user)
    desk.judge("hydra.run.dir=. with files of the user's", done.faults(0, 2) + _touched(user, made=False), done.text)

    user = _user(desk)
    (user / "assets").mkdir()
    (user / "manifest.json").write_text('{"name": "a web page"}')
    shutil.copy(min((desk.work / "fit").glob("fits/*/epochs/*")), user / "assets/a.safetensors")
    before = sorted(user.rglob("*"))
    done = run_child([*WINDOW, f"checkpoint={user / 'assets/a.safetensors'}"], desk.folder("away"))
    made = [f"made: {p.name}" for p in sorted(user.rglob("*")) if p not in before]
    desk.judge("checkpoint= beside a manifest.json of a stranger", done.faults(0, 2) + made, done.text)


def _manager(desk: Desk) -> None:
    """Give the manager of fits names that are paths, and a fit that is a link."""
    for argv in (
        *(["rm", "../../user"], ["rm", "--force", "../user"], ["rm", "*"], ["rm", ".."], ["rm", ""]),
        *(["show", "../../user"], ["show", "\x1b[31m"], ["gc", "--days", "nan"], ["gc", "--days", "-1"]),
    ):
        user, copy = _user(desk), _copy(desk, "fit")
        done = run_child(["-m", "dipddpm.fits", *argv, "--store", "fits"], copy)
        removed = [] if argv[0] == "gc" or list(copy.glob("fits/*/manifest.json")) else ["removed: the fit"]
        desk.judge(f"fits {argv}", done.faults(0, 2, lines=5) + _touched(user) + removed, done.text)
    for argv in (["gc"], ["rm", "--force", "linked"]):
        user, copy = _user(desk), _copy(desk, "fit")
        for name in ("fit.json", "manifest.json"):
            (user / name).write_text("{}")
        (copy / "fits/linked").symlink_to(user)
        done = run_child(["-m", "dipddpm.fits", *argv, "--store", "fits"], copy)
        lost = [f"lost: {name}" for name in ("fit.json", "manifest.json") if not (user / name).exists()]
        desk.judge(
            f"fits {argv} with a link to a folder", done.faults(0, 2) + _touched(user, made=False) + lost, done.text
        )


class _Page(html.parser.HTMLParser):
    """Collects the tags of a page, its handlers of events, and its addresses that are no plain files."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.live: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            odd = name in ("href", "src") and re.match(r"\s*((javascript|vbscript|https?):|//)", value or "", re.I)
            self.live += [f"{tag} {name}={value}"] if odd or name.startswith("on") else []


def _page(desk: Desk) -> None:
    """Summarise a sweep whose every text is hostile, and one whose texts are plain: the same tags, no formulas."""
    pages = []
    for name, texts in {"plain": [f"v{i}" for i in range(len(HOSTILE))], "hostile": HOSTILE}.items():
        copy = _copy(desk, "sweep")
        origin = min(copy.glob("out/*/metrics.json")).parent
        study = copy / name
        for i, text in enumerate(texts):
            job = study / f"{text.replace('/', '_')[:60]}{i}"
            shutil.copytree(origin, job, symlinks=True)
            overrides = [f"image.path={text}", f"seed={i}", f"{text.replace('=', '')[:30]}=3"]
            (job / ".hydra/overrides.yaml").write_text(json.dumps(overrides))
            said = json.loads((job / "metrics.json").read_text()) | {"command": "sample"}
            said["fit"]["key"] = said["result"]["name"] = text
            (job / "metrics.json").write_text(json.dumps(said))
            if i % 2:
                (job / "metrics.json").unlink()
                (job / "error.txt").write_text(text)
        done = run_child(["-m", "dipddpm.study", str(study)], copy)
        faults, page = done.faults(), _Page()
        if not faults:
            page.feed((study / "index.html").read_text())
            pages.append(page)
            faults = [f"live: {odd}" for odd in page.live] + _formulas(study / "summary.csv")
            faults += [f"in summary.md: {tag}" for tag in _raw_tags(study / "summary.md")]
        if len(pages) == 2 and page.tags.count("script") != pages[0].tags.count("script"):
            faults.append("a script more than in the plain page")
        desk.judge(f"study of {name} texts", faults, done.text)


def _formulas(table: Path) -> list[str]:
    with table.open(newline="") as file:
        cells = {cell for row in csv.reader(file) for cell in row}
    return [f"formula: {c!r}" for c in sorted(cells) if re.match(r"\s*([=+@]|-(?![\d.e-]+$))", c)]


def _raw_tags(page: Path) -> list[str]:
    """Return tags of HTML in a page of Markdown that stand neither in code nor behind a backslash."""
    bare = [re.sub(r"(`+)[^`].*?\1", "", line) for line in page.read_text().splitlines()]
    return [found.group() for line in bare for found in re.finditer(r"(?<!\\)<(img|script|h1)", line)]


def _postscript(desk: Desk) -> None:
    """Give PostScript where a picture is read; a false Ghostscript on the PATH tells whether it was started."""
    programs, started = desk.folder("programs"), desk.work / "started"
    (programs / "gs").write_text(GHOSTSCRIPT.format(started))
    (programs / "gs").chmod(0o755)
    script = desk.work / "face.png"
    script.write_bytes(POSTSCRIPT)
    copy = _copy(desk, "sweep")
    for path in copy.glob("out/*/result.png"):
        shutil.copy(script, path)
    own = f"image.path={min((desk.work / 'sweep').glob('out/*/noisy.png'))}"
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{programs}:{path}"
    for key, command in {
        "image.path": [*FIT, f"image.path={script}"],
        "image.reference": [*FIT, "image=noisy", "noise.sigma=5", own, f"image.reference={script}"],
        "operator.file": [*FIT, "operator=mask", own, f"operator.file={script}"],
        "a study's result.png": ["-m", "dipddpm.study", "out"],
    }.items():
        done = run_child(command, copy)
        faults = done.faults(0, 2) + (["Ghostscript was started"] if started.exists() else [])
        desk.judge(f"{key} is PostScript", faults, done.text)
        started.unlink(missing_ok=True)
    os.environ["PATH"] = path
