"""Write the summary of a sweep. Several processes may do so at once, while jobs are still running.

<sweep>/index.html, summary.csv, summary.md   each replaced whole
<sweep>/.study.lock                           held by the process that builds
<sweep>/.study.json                           the seconds of the last build
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from filelock import Timeout

from dipddpm.files import half_written, locked, read_json, write_json, write_text
from dipddpm.ownership import claim
from dipddpm.study.find import check_holds_jobs

log = logging.getLogger(__name__)
PAGE, CSV, MARKDOWN, RECORD = "index.html", "summary.csv", "summary.md", ".study.json"
WAIT = 30.0  # seconds to wait for another process that builds
THROTTLE = 20  # least ratio of the time between builds to the time of a build


def build(folder: Path | str, wait: float = WAIT) -> Path:
    """Read a sweep and write its summary. A second build of the same jobs writes the same bytes.

    Args:
        folder: The folder of the sweep.
        wait: Seconds to wait while another process builds. After that time the function gives up, and writes nothing.

    Returns:
        The path of index.html.

    Raises:
        UserError: When the folder does not exist, holds no job, or holds a file index.html, summary.csv or summary.md
            that is not this project's.
        OSError: When the folder cannot be written.
    """
    folder = Path(folder)
    check_holds_jobs(folder)
    claim_summary(folder, "move the file away")
    try:
        with locked(folder / ".study.lock", "hydra.sweep.dir", timeout=wait):
            _build(folder)
    except Timeout:
        log.info("another process is summarising %s", folder)
    return folder / PAGE


def claim_summary(folder: Path, advice: str, *more: str) -> None:
    """Record the names of the summary's files, and more names; refuse a folder that holds such a file of others."""
    claim(folder, (PAGE, CSV, MARKDOWN, *more), advice, lock=".study.lock")


def is_due(folder: Path) -> bool:
    """Return whether the last build is unknown, or older than `THROTTLE` times its duration."""
    record = folder / RECORD
    try:
        took = float(read_json(record)["seconds"])
        age = time.time() - record.stat().st_mtime
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return not 0 <= age < THROTTLE * took  # a negative age means that the clock was set back


def _build(folder: Path) -> None:
    from dipddpm.study import frame, page, tables  # late: pandas takes a second to import

    begun = time.perf_counter()
    jobs = frame.read_frame(folder)
    texts = {CSV: tables.as_csv(jobs), MARKDOWN: tables.as_markdown(jobs), PAGE: page.render(jobs)}
    for name, text in texts.items():
        write_text(folder / name, text)
    for path in half_written(folder, (*texts, RECORD)):
        path.unlink(missing_ok=True)
    write_json(folder / RECORD, {"seconds": time.perf_counter() - begun, "jobs": len(jobs)})
