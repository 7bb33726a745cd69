"""The folder of the configuration files."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def conf_folder() -> Path:
    """Return the folder of the configuration files: inside an installed package, or ``conf/`` beside it in a clone."""
    installed = PACKAGE / "conf"
    return installed if installed.is_dir() else PACKAGE.parent / "conf"
