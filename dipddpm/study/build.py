"""Write what a study shows, from many processes at once and while jobs are still being written.

    <sweep>/index.html, summary.csv, summary.md     each replaced whole
    <sweep>/summary/*.png                           what the page shows
    <sweep>/.study.lock, .study.stale, .study.json  who builds, whether to build again, how long it took

A builder first marks the study stale, then takes the lock, removes the mark and builds for as long as it finds one.
So of many that wait, the first builds for all who had marked before it began, and none waits for ever.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

from filelock import FileLock, Timeout

from dipddpm.files import replacing, write_json
from dipddpm.study.cost import cost
from dipddpm.study.find import check_holds_jobs
from dipddpm.study.heat import heat_maps
from dipddpm.study.read import read_study
from dipddpm.study.table import as_csv, as_markdown

log = logging.getLogger(__name__)
PAGE = "index.html"
PICTURES = "summary"
WAIT = 30.0  # seconds
THROTTLE = 20  # a sweep spends at most about 1/20 of its time on summaries
MOST_ROUNDS = 3  # of one builder, should others mark the study stale again and again


def build(folder: Path | str, wait: float = WAIT) -> Path:
    """Read a sweep and write its summary; doing it again changes no byte.

    Args:
        folder: Of the sweep.
        wait: Seconds to wait while another process builds; after them it is left to that one, which builds again.

    Returns:
        The path of index.html.

    Raises:
        UserError: When the folder does not exist or holds no job.
        OSError: When it cannot be written.
    """
    folder = Path(folder)
    check_holds_jobs(folder)
    _try(folder, wait)
    return folder / PAGE


def build_if_due(folder: Path | str) -> bool:
    """Build unless the last build is younger than `THROTTLE` times what it took, or another process is at it.

    Returns:
        Whether the summary now shows everything that was there at the call.

    Raises:
        UserError: As `build`.
        OSError: As `build`.
    """
    folder = Path(folder)
    if not is_due(folder):
        mark_stale(folder)
        return False
    check_holds_jobs(folder)
    return _try(folder, wait=0)


def mark_stale(folder: Path) -> None:
    """Say that something is happening which the summary does not show."""
    _mark(folder).touch()


def is_stale(folder: Path) -> bool:
    """Whether something has happened that the summary does not show."""
    return _mark(folder).exists()


def is_due(folder: Path) -> bool:
    """Whether the last build is old enough, measured by how long it took, or unknown."""
    record = folder / ".study.json"
    try:
        took = float(json.loads(record.read_text())["seconds"])
        age = time.time() - record.stat().st_mtime
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return not 0 <= age < THROTTLE * took  # negative: the clock was set back


def _mark(folder: Path) -> Path:
    return folder / ".study.stale"


def _try(folder: Path, wait: float) -> bool:
    stale = _mark(folder)
    stale.touch()
    try:
        with FileLock(folder / ".study.lock", timeout=wait):
            for _ in range(MOST_ROUNDS):
                if not stale.exists():  # another process began its build after the mark
                    break
                stale.unlink()
                try:
                    _build(folder)
                except BaseException:
                    stale.touch()  # for whoever waits for the lock
                    raise
    except Timeout:
        log.info("another process is summarising %s: left to it", folder)
        return False
    return True


def _build(folder: Path) -> None:
    from dipddpm.study import page, plots, sheet

    begun = time.perf_counter()
    study = read_study(folder)
    total = cost(study.jobs)
    maps, left_out = heat_maps(study)
    shown, more = sheet.results(study)
    pictures = {
        "quality.png": plots.quality_against_cost(study),
        "perception.png": plots.perception_against_distortion(study),
        "results.png": plots.contact_sheet([s.picture for s in shown], [s.text for s in shown], more),
        **{name: plots.heat_map(heat) for name, heat in zip(page.heat_names(maps), maps, strict=True)},
    }
    drawn = {name: figure for name, figure in pictures.items() if figure is not None}
    for name, figure in drawn.items():
        plots.save(figure, folder / PICTURES / name)
    text = page.render(study, total, drawn=set(drawn), maps=maps, left_out=left_out, shown=shown, more=more)
    for name, content in (
        ("summary.csv", as_csv(study)),
        ("summary.md", as_markdown(study, total)),
        (PAGE, text),
    ):
        with replacing(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8", newline="\n")
    _clean(folder, set(drawn))
    write_json(folder / ".study.json", {"seconds": time.perf_counter() - begun, "jobs": len(study.jobs)})


def _clean(folder: Path, drawn: set[str]) -> None:
    """Remove pictures of earlier builds that are none of this one, and what killed builders left half written."""
    old = [p for p in folder.glob(f"{PICTURES}/*.png") if p.name not in drawn]
    old += [*folder.glob(f"{PICTURES}/.*.tmp"), *folder.glob(".index.html.*.tmp"), *folder.glob(".summary.*.tmp")]
    for path in [*old, *folder.glob(".study.json.*.tmp")]:
        path.unlink(missing_ok=True)
