"""Where the configuration files are."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def conf_folder() -> Path:
    """Return the folder of the configuration files.

    It lies in an installed package. In a clone it is ``conf/``, beside the package.
    """
    installed = PACKAGE / "conf"
    return installed if installed.is_dir() else PACKAGE.parent / "conf"
