"""The table of a study, for programs (summary.csv) and for people (summary.md, the page, the terminal)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from dipddpm.study.columns import COLUMNS
from dipddpm.study.frame import constants, swept, title
from dipddpm.study.labels import as_text, is_number, short_names
from dipddpm.study.words import summary

FORMULA = tuple("=+-@＝＋－＠")  # a spreadsheet reads a cell that begins with one of these as a formula

TAKEN = {"job", "folder", "front", "panel", *(column.title for column in COLUMNS.values())}  # headings of the tables


def as_csv(frame: pd.DataFrame) -> str:
    """Return summary.csv: all columns except ``study``, with unrounded numbers.

    A text that a spreadsheet would read as a formula gets a quote before it: ``'=1+1``.
    """
    table = frame.drop(columns="study")
    texts = table.select_dtypes("string").columns
    table[texts] = table[texts].map(_harmless, na_action="ignore")
    return table.rename(columns=_harmless).to_csv(index=False, lineterminator="\n")


def for_people(frame: pd.DataFrame, names: Sequence[str] = tuple(COLUMNS)) -> pd.DataFrame:
    """Return the swept keys, and the named columns in which any job has a value, as texts.

    Numbers are rounded, and an unknown value is an empty cell.
    """
    short = short_names(swept(frame))
    heads = {key: key if short[key] in TAKEN else short[key] for key in short}
    cells = {heads[key]: frame[key].astype(object).map(as_text) for key in heads}
    for name in names:
        column, values = COLUMNS[name], frame[name].dropna().astype(object)
        if column.title and len(values):
            texts = values.map(str if column.digits is None else f"{{:.{column.digits}f}}".format)
            cells[column.title] = texts.reindex(frame.index, fill_value="")
    return pd.DataFrame(cells, index=frame.index)


def as_markdown(frame: pd.DataFrame) -> str:
    """Return summary.md: the study in sentences, and the table for people.

    The names of the jobs' folders, which repeat the swept keys, are the last column.
    """
    same = ", ".join(f"{key}={value}" for key, value in constants(frame).items())
    sentences = [*summary(frame), *([f"Settings of all jobs: {same}"] if same else [])]
    table = for_people(frame)
    table["folder"] = frame["job"]
    rows = [list(table), ["--:" if number else "---" for number in numeric(table)]]
    rows += table.itertuples(index=False, name=None)
    lines = [f"| {' | '.join(cells if i == 1 else map(escaped, cells))} |" for i, cells in enumerate(rows)]
    return "\n\n".join([f"# Study {escaped(title(frame))}", *map(escaped, sentences), "\n".join(lines)]) + "\n"


def numeric(table: pd.DataFrame) -> list[bool]:
    """Return, for each column of a table of texts, whether it holds only numbers."""
    return [all(is_number(text) for text in table[name] if text) for name in table]


def _harmless(text: str) -> str:
    return f"'{text}" if text.lstrip().startswith(FORMULA) and not is_number(text) else text


def escaped(text: str) -> str:
    """Return the text with the characters escaped that Markdown or HTML would interpret."""
    return re.sub(r"([\\|`*_~&<>\[\]])", r"\\\1", " ".join(text.split()))
