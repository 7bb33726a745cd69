"""The command line as a process."""

import subprocess
import sys

from support import ROOT

SMALL = [
    "dip.layers=1",
    "dip.channels=8",
    "dip.max_epochs=30",
    "ddpm.start_t=20",
    "stopping=never",
    "threads=1",
]


def command(script, *arguments, cwd, **more):
    return subprocess.run(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        **more,
    )
