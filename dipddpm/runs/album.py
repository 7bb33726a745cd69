"""The files of a job of many pictures: each result, pictures.csv, a contact sheet, and the means in metrics.json."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.tensorboard import SummaryWriter

from dipddpm import seeds
from dipddpm.config.compose import plain
from dipddpm.config.schema import Config
from dipddpm.degradation.problem import Problem
from dipddpm.diffusion.prior import Prior
from dipddpm.dip import tracking
from dipddpm.errors import FitFailed, UserError
from dipddpm.files import printable, utf8_path, write_json, write_text
from dipddpm.names import QUALITIES, RESULTS, TABLE
from dipddpm.pictures import panels, write
from dipddpm.runs import board, fingerprints, outputs, report, results, windows
from dipddpm.runs.folder import pictures_of, result_names
from dipddpm.runs.job import EVENTS, Job
from dipddpm.runs.posing import HARDLY_NOISY
from dipddpm.runs.report import Row
from dipddpm.runs.results import Restored
from dipddpm.runs.starts import FittedStart, Start

log = logging.getLogger(__name__)
SHOWN = 8  # pictures on the contact sheet and in TensorBoard
LONGEST = 24  # characters of a file's name on the contact sheet
Posed = tuple[Config, Problem]
Started = tuple[Config, Problem, Start]


class Album:
    """The pictures of a job, from their files to its means. A picture that fails is named, left out and counted.

    Args:
        c: The configuration of the job.
        job: The job.

    Raises:
        UserError: When the folder of the job holds files of the results' names that are not this project's.
    """

    def __init__(self, c: Config, job: Job):
        self.c, self.job = c, job
        paths = [one.image.path for one in pictures_of(c)]
        self.names = dict(zip(paths, result_names(paths), strict=True))
        self.left_out: dict[str, Exception] = {}
        self.restored: list[Restored] = []
        job.claim(1, TABLE)
        job.claim_results(self.names.values())

    def posed(self, answers: Sequence[tuple[Config, Problem | UserError]]) -> list[Posed]:
        """Return the pictures that have a problem; raise where there is none."""
        found = [(c, self._checked(c, answer)) for c, answer in answers]
        kept = [(c, problem) for c, problem in found if problem is not None]
        self._need(kept)
        first, sigmas = kept[0][1], [problem.sigma for _, problem in kept]
        source = "added" if first.added else first.sigma_source
        least, most = (f"{sigma:.1f}" for sigma in (min(sigmas), max(sigmas)))
        noise = f"noise of sigma {least}{f' to {most}' * (least != most)} ({source})" if max(sigmas) else "no noise"
        log.info("%d picture%s, %s", len(kept), "s" * (len(kept) > 1), noise)
        if first.sigma_source == "estimated":
            self._warn_of_estimates(kept)
        return kept

    def started(self, posed: Sequence[Posed], starts: Sequence[Start | FitFailed]) -> list[Started]:
        """Return the pictures that have a start; raise where there is none."""
        found = [(c, problem, self._checked(c, start)) for (c, problem), start in zip(posed, starts, strict=True)]
        kept = [(c, problem, start) for c, problem, start in found if start is not None]
        self._need(kept)
        fits = {start.fit.key: start.made for _, _, start in kept if isinstance(start, FittedStart)}
        if fits:
            log.info("%d fits made, %d found", sum(fits.values()), len(fits) - sum(fits.values()))
        return kept

    def windowed(self, started: Sequence[Started], prior: Prior) -> list[Started]:
        """Return the pictures that have a window: an error may have a level below ``ddpm.end_t``."""
        kept = []
        for one in started:
            try:
                windows.planned(*one, prior)
                kept.append(one)
            except UserError as error:
                self._checked(one[0], error)
        self._need(kept)
        return kept

    def add(self, restored: Sequence[Restored]) -> None:
        """Write results. Only those of the first pictures stay in memory, for the contact sheet."""
        for one in restored:
            write.save_picture(self.job.folder / RESULTS / self.names[one.c.image.path], self._main(one).picture)
            self.restored.append(one)
            if len(self.restored) > SHOWN:
                one.result = None
                for row in one.rows.values():
                    row.picture = row.picture[:0]

    def leave(self, common: Mapping[str, Any]) -> float | None:
        """Write the other files, metrics.json last, and print the table. Return the mean PSNR of the results, or None.

        Args:
            common: The entries of metrics.json that do not depend on the picture.
        """
        folder, config, first = self.job.folder, plain(self.c), self.restored[:SHOWN]
        write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        rows = {
            name: results.mean_row(
                [one.rows[name] for one in self.restored], torch.cat([one.rows[name].picture for one in first])
            )
            for name in self.restored[0].rows
        }
        record = {**self._record(), **common}
        figures = {name: row.as_dict() for name, row in rows.items()}
        with utf8_path(folder) as path, SummaryWriter(path, filename_suffix=EVENTS) as events:
            tracking.log_pictures(events, "restored", {name: row.picture for name, row in rows.items()}, 0)
            outputs.save_panel(folder / "sheet.png", events, "sheet", panels.sheet([self._shown(one) for one in first]))
            board.log(events, config, figures, record)
        write_text(folder / TABLE, self._table())
        files = fingerprints.written(folder, [*outputs.pictures_in(folder), TABLE])
        write_json(folder / "metrics.json", {**figures, **record, "files": files})
        report.show(list(rows.values()), self._notes(rows, record))
        return rows[self._main_name].quality.get("psnr")

    @property
    def _main_name(self) -> str:
        return "result" if "result" in self.restored[0].rows else "dip"

    def _main(self, one: Restored) -> Row:
        return one.rows.get("result") or one.rows["dip"]

    def _checked(self, c: Config, answer: Any) -> Any:
        """Return an answer, or None for an exception, which is logged and noted."""
        if not isinstance(answer, Exception):
            return answer
        log.warning("%s is left out: %s", printable(c.image.path), answer)
        self.left_out[c.image.path] = answer
        return None

    def _need(self, kept: Sequence[object]) -> None:
        if not kept:
            *_, last = self.left_out.values()
            kind = UserError if isinstance(last, UserError) else RuntimeError
            raise kind(f"image.path={self.c.image.path}: none of its pictures can be restored; {last}") from last

    def _warn_of_estimates(self, posed: Sequence[Posed]) -> None:
        quiet = sum(problem.sigma < HARDLY_NOISY for _, problem in posed)
        packed = sum(c.image.path.lower().endswith((".jpg", ".jpeg")) for c, _ in posed)
        if quiet:
            log.warning("%d pictures have hardly any noise (estimated sigma below %g)", quiet, HARDLY_NOISY)
        if packed:
            log.warning(
                "%d pictures are JPEG, whose compression removes noise: their estimated sigma is low. If you know the "
                "noise, type noise.sigma=<0-255 scale>",
                packed,
            )

    def _record(self) -> dict[str, Any]:
        """Return the entries of metrics.json, beside the rows, that depend on the pictures."""
        record = results.merged([one.record for one in self.restored])
        contents = [one.problem.content for one in self.restored]
        record["picture"] |= {"path": self.c.image.path, "content": seeds.content_hash(contents), "notes": []}
        if fits := [one.record["fit"]["key"] for one in self.restored if "fit" in one.record]:
            # Jobs with the same fits have the same key.
            record["fit"] |= {"key": seeds.content_hash(fits), "keys": sorted(set(fits)), "folder": None}
            seconds = {one.record["fit"]["second_fit"] for one in self.restored} - {None}
            record["fit"] |= {"second_fit": None, "second_fits": sorted(seconds)}
        why = {printable(path): str(error) for path, error in self.left_out.items()}
        record["pictures"] = {"count": len(self.restored), "left_out": why}
        record["differences"] = {self._main_name: self._differences()}
        return record

    def _differences(self) -> dict[str, dict[str, Any]]:
        """Return the mean differences of the result to each other row, paired by picture, with 95% intervals."""
        found = {}
        for name in self.restored[0].rows:
            pairs = [(self._main(one).quality, one.rows[name].quality) for one in self.restored]
            if name != self._main_name and len(pairs) > 1 and pairs[0][0]:
                mean, half = results.means({key: [a[key] - b[key] for a, b in pairs] for key in pairs[0][0]})
                found[name] = {**mean, "interval": half}
        return found

    def _table(self) -> str:
        """Return pictures.csv: a row for each picture, in the order of the files."""
        rows = {path: {"file": path, "left_out": str(error)} for path, error in self.left_out.items()}
        for one in self.restored:
            rows[one.c.image.path] = self._row(one)
        columns = dict.fromkeys(key for row in ({"file": ""}, *(rows.values())) for key in row if key != "left_out")
        text = io.StringIO()
        table = csv.DictWriter(text, [*columns, "left_out"], restval="", lineterminator="\n")
        table.writeheader()
        table.writerows({key: _cell(value) for key, value in rows[path].items()} for path in self.names if path in rows)
        return text.getvalue()

    def _row(self, one: Restored) -> dict[str, Any]:
        fit, cost, record = one.record.get("fit", {}), one.record.get("cost", {}), one.record
        row = {"file": one.c.image.path, "result": f"{RESULTS}/{self.names[one.c.image.path]}"}
        row |= {"sigma": one.problem.sigma, "fit": fit.get("key"), "epoch": fit.get("epoch"), "why": fit.get("why")}
        row |= {"start_t": record.get("window", {}).get("start_t")}
        for name, restoration in one.rows.items():
            row |= {f"{name}_{key}": restoration.quality[key] for key in QUALITIES if key in restoration.quality}
            row |= {f"{name}_nfe": restoration.nfe} if restoration.nfe else {}
        row |= {key: cost.get(key, fit.get(key.removeprefix("fit_"))) for key in ("fit_seconds", "fit_gflop")}
        row |= {key: cost.get(key) for key in ("total_seconds", "total_evaluations_worth")}
        row["notes"] = "; ".join(one.problem.notes)
        return {key: value for key, value in row.items() if value is not None}

    def _shown(self, one: Restored) -> list[tuple[str, torch.Tensor]]:
        """Return titles and pictures of a picture's row on the contact sheet."""
        name, problem = printable(Path(one.c.image.path).stem)[:LONGEST], one.problem
        items = [] if problem.clean is None else [("clean picture", problem.clean)]
        for key, title in (("noisy", "noisy picture"), ("dip", "DIP"), ("result", "result")):
            row = one.rows.get(key)
            if key == "noisy" and problem.operator.partial:
                items.append((problem.operator.words, problem.shown))
            elif row:
                items.append((f"{title}, {row.cell('psnr', 2)} dB" if row.quality else title, row.picture))
        return [(f"{name}\n{title}" if i == 0 else f"\n{title}", picture) for i, (title, picture) in enumerate(items)]

    def _notes(self, rows: Mapping[str, Row], record: Mapping[str, Any]) -> list[str]:
        total = len(self.restored) + len(self.left_out)
        notes = [f"{len(self.restored)} of {total} pictures; {TABLE} has a row for each"]
        if self.left_out:
            notes.append(f"left out: {len(self.left_out)}; {TABLE} says why")
        title = {"result": "result", "dip": "DIP"}[self._main_name]
        for name, found in record["differences"][self._main_name].items():
            psnr, half = found["psnr"], found["interval"]["psnr"]
            notes.append(f"{title} - {rows[name].name}: {psnr:+.2f} ± {half:.2f} dB")
        if rows[self._main_name].interval:
            notes.append("±: half the 95% interval of a mean over the pictures; differences are paired by picture")
        where = f"{RESULTS}/, sheet.png, {TABLE} and metrics.json are in {self.job.folder}"
        return [*notes, *outputs.notes_of(rows, record, [], " a picture"), where]


def _cell(value: object) -> object:
    """Return the value of a cell. A text that a spreadsheet would read as a formula gets a quote before it."""
    return f"'{printable(value)}" if isinstance(value, str) and value[:1] in "=+-@" and value else value
