"""Manage stored fits: ``python -m dipddpm.fits list|show|rm|gc``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout
from rich.console import Console
from rich.table import Table

from dipddpm.dip.curves import best_kept
from dipddpm.dip.settings import DipSettings
from dipddpm.errors import UserError, typed_as
from dipddpm.files import expanded, is_kept_file, read_json, read_text, read_yaml, write_any_name
from dipddpm.fits.manifest import Damaged, Fit, left_over
from dipddpm.fits.store import FitStore
from dipddpm.names import KERNELS
from dipddpm.surroundings import settle

WHOLE = {"key": 16, "damage": 12}  # least characters of columns that a narrow terminal must not wrap
CLOSED = "unreadable"  # the state of a fit that this user may not read, or that cannot be read now
UNUSUAL = {  # settings that are shown where they are not the network's usual ones
    "kernel_size": "kernel", "final_relu": "final_relu", "lr": "lr", "steps_per_epoch": "steps", "ema": "ema",
    "checkpoint_every": "every",
}  # fmt: skip
SHORTEST = 4  # characters of a name for `rm`: a shorter beginning may name another fit tomorrow


def main(argv: list[str] | None = None) -> int:
    """Run a command; return the exit code, 2 for a refusal."""
    settle()
    args = _parser().parse_args(argv)
    store = FitStore(expanded(args.store))
    write_any_name()
    try:
        if store.root.exists() and not store.root.is_dir():
            raise UserError(f"--store {args.store} is no folder: type --store <folder of fits>")
        if args.command == "list":
            _list(store)
        elif args.command == "gc":
            _gc(store, args.days, args.dry_run)
        elif args.command == "show":
            for key in [_whole(store, k) for k in args.key]:
                _show(_look(store, key))
        else:
            for key in _removable(store, args.key, args.force):
                _remove(store, key)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # the store cannot be read, or a fit was removed in between
        cannot = f"{error.filename} cannot be read ({error.strerror}): type --store <folder>"
        print(f"error: {cannot if error.filename else error}", file=sys.stderr)  # no name: the output is full
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=typed_as("dipddpm.fits"), description="Manage stored DIP fits.")
    parser.add_argument("--store", default="outputs/fits", type=Path, help="root folder (outputs/fits)")
    common = argparse.ArgumentParser(add_help=False)  # --store after the command; a default here would override it
    common.add_argument("--store", default=argparse.SUPPRESS, type=Path, help="root folder (outputs/fits)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="list all fits: length, size, age, runs that use them", parents=[common])
    show = commands.add_parser("show", help="verify fits and show their settings", parents=[common])
    rm = commands.add_parser("rm", help="remove fits", parents=[common])
    rm.add_argument("--force", action="store_true", help="remove fits that existing runs use, too")
    for command in (show, rm):
        command.add_argument("key", nargs="+", help="name of a fit, or the beginning of the name")
    about = "remove damaged fits, fits that no existing run uses, and files that killed processes left in others"
    gc = commands.add_parser("gc", help=about, parents=[common])
    gc.add_argument("--days", type=float, default=0, help="remove only fits unchanged for DAYS days (0)")
    gc.add_argument("--dry-run", action="store_true", help="print what would be removed, and remove nothing")
    return parser


def _whole(store: FitStore, beginning: str) -> str:
    keys = [k for k in store.keys() if k.startswith(beginning)]
    if len(keys) != 1:
        found = f"{len(keys)} fits in {store.root} begin" if keys else f"no fit in {store.root} begins"
        raise UserError(f"{found} with {beginning}: type {typed_as('dipddpm.fits')} list --store {store.root}")
    return keys[0]


def _removable(store: FitStore, beginnings: list[str], force: bool) -> list[str]:
    """Return the fits to remove, each once. If one of them may not be removed, the whole command is refused."""
    for beginning in beginnings:
        if len(beginning) < SHORTEST:
            raise UserError(f"rm {beginning} is not allowed: type {SHORTEST} or more characters of the fit's name")
    keys = list(dict.fromkeys(_whole(store, b) for b in beginnings))
    for key in keys:
        if not force and (uses := _uses(store, key)) != []:
            raise UserError(f"{key} is used by {_runs(uses)}: to remove it all the same, type --force")
    return keys


@dataclass(frozen=True)
class Look:
    """The facts of a stored fit, each read once.

    Attributes:
        key: The name of the fit.
        folder: The folder of the fit.
        state: ``whole``, ``damaged``, ``begun``, or `CLOSED`.
        fit: The fit, where it is whole.
        uses: The folders of the runs that use the fit; None where this user may not read them.
        left: The files that killed processes left in it.
        files: The status of each file.
    """

    key: str
    folder: Path
    state: str
    fit: Fit | None
    uses: list[Path] | None
    left: list[Path]
    files: list[os.stat_result]

    @property
    def epochs(self) -> str:
        return str(self.fit.epochs) if self.fit else {"damaged": "-", "begun": "0"}.get(self.state, "?")

    @property
    def used_by(self) -> str:
        return _runs(self.uses)

    @property
    def litter(self) -> int:
        """The bytes of `left`."""
        return sum(path.lstat().st_size for path in self.left if path.exists())

    @property
    def size(self) -> str:
        return _mib(sum(file.st_size for file in self.files))

    @property
    def age(self) -> float:
        """Seconds since the last change."""
        with suppress(FileNotFoundError):  # removed in between
            return time.time() - max(file.st_mtime for file in self.files or [self.folder.lstat()])
        return 0.0


def _runs(uses: list[Path] | None) -> str:
    """Return the number of runs that use a fit, for people."""
    return "unknown runs" if uses is None else f"{len(uses)} run{'s' * (len(uses) != 1)}"


def _uses(store: FitStore, key: str) -> list[Path] | None:
    with suppress(OSError):
        return store.uses(key)
    return None


def _look(store: FitStore, key: str) -> Look:
    """Read the facts of a fit. A running fit may change its files in between."""
    folder, fit, uses, files = store.folder(key), None, _uses(store, key), []
    try:
        fit = store.find(key)
        os.listdir(folder)
        state = CLOSED if uses is None else "whole" if fit else "begun"
    except Damaged:
        state = "damaged"
    except (UserError, OSError):
        state = CLOSED
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                files.append(os.lstat(os.path.join(where, name)))
    return Look(key, folder, state, fit, uses, left_over(folder), files)


def _list(store: FitStore) -> None:
    keys = store.keys()
    if not keys:
        print(f"no fits in {store.root}: for another store, type --store <folder>")
        return
    table = Table(box=None)
    for name in ("key", "epochs", "picture", "damage", "network", "seed", "size", "age", "used by", "state"):
        table.add_column(name, no_wrap=True, min_width=WHOLE.get(name))
    litter = 0
    for key in keys:
        look = _look(store, key)
        litter += look.litter
        table.add_row(
            key, look.epochs, *_request(look), look.size, f"{look.age / 3600:.1f} h", look.used_by, look.state
        )
    Console(width=None if sys.stdout.isatty() else 150).print(table)
    if litter:
        gc = f"{typed_as('dipddpm.fits')} gc --store {store.root}"
        print(f"killed processes left {_mib(litter)} of files that nothing reads: to remove them, type {gc}")


def _request(look: Look) -> tuple[str, str, str, str]:
    """Return picture, damage, network and seed of a fit, for people."""
    try:
        request = read_json(look.folder / "fit.json")
        dip, size = request["dip"], "x".join(map(str, request["size"]))
        return (
            f"{size} {_picture(look) or request['pixels'][:6]}",
            _damage(request["degrade"]),
            _network(dip),
            str(request["seed"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # the fit is damaged, or was removed in between
        return "?", "?", "?", "?"


def _network(dip: dict[str, Any]) -> str:
    """Return the network of a fit, and settings that are not usual: ``skip 4x16, l1, noise 0.33, held out 5%``."""
    parts = [f"{dip['network']} {dip['layers']}x{dip['channels']}"]
    parts += [dip["loss"]] if "loss" in dip else []
    parts += [f"noise {dip['input_noise']:g}"] if dip.get("input_noise") else []
    parts += [f"held out {100 * dip['holdout']:g}%"] if "holdout" in dip else []
    usual = DipSettings.of(dip["network"])
    unusual = {name: dip[name] for name in UNUSUAL if dip.get(name, getattr(usual, name)) != getattr(usual, name)}
    parts += [f"{UNUSUAL[name]} {value:g}" for name, value in unusual.items()]
    parts += [dip["precision"]] if dip.get("precision", "fp32") != "fp32" else []
    return ", ".join(parts)


def _operators(degraded: dict[str, Any]) -> list[str]:
    """Return the operators of a fit, from the entries of `Operator.request`."""
    words = {
        "mask": lambda _: "holes",
        "downscale": "1/{}".format,
        "blur": lambda shape: f"{shape['kernel']} blur" if shape["kernel"] in KERNELS else "blur",
        "sensing": lambda _: "sensing",
        "jpeg": lambda named: f"jpeg {named.get('quality', '')}".rstrip(),
        "clip": "clip {:g}".format,
        "chain": lambda each: " + ".join(word for one in each for word in _operators(one)),
    }
    return [words[name](value) for name, value in degraded.items() if name in words]


def _damage(degraded: dict[str, Any]) -> str:
    """Return the damage to a picture: ``gaussian 25``, ``holes``, ``1/4, poisson 10``, or ``given`` for a given y."""
    parts = _operators(degraded)
    if degraded["kind"] == "none":
        return ", ".join(["given", *parts])
    kind = f"correlated {degraded['correlation']:g}px" if "correlation" in degraded else degraded["kind"]
    noise = [f"{kind} {degraded['sigma']:g}"] if degraded["sigma"] else []
    return ", ".join([*parts, *noise])


def _picture(look: Look) -> str:
    """Return the name of a fit's picture from a run that uses the fit; empty without such a run."""
    for folder in look.uses or ():
        with suppress(OSError, ValueError, KeyError, TypeError):
            config = read_yaml(folder / "config.yaml")
            if not is_kept_file(config["checkpoint"]):  # a run from a file may have another picture
                return Path(config["image"]["path"]).name
    return ""


def _show(look: Look) -> None:
    print(f"{look.folder}: {look.epochs} epochs, {look.state}")
    try:
        print(read_text(look.folder / "fit.json"), end="")
    except (OSError, ValueError) as error:
        print(f"fit.json cannot be read: {error}")
    if fit := look.fit:
        if best := best_kept(fit.kept):
            print(f"best kept epoch {best[0]}: {best[1]:.2f} dB")
        print(f"{len(fit.kept)} kept epochs, {fit.seconds:.1f} s")
        for environment in fit.environments:
            print(f"environment {environment}")
    for folder in look.uses or ():
        print(f"used by {folder}")


def _remove(store: FitStore, key: str) -> None:
    try:
        store.remove(key)
    except Timeout:
        raise UserError(f"{key} is being fitted by another process: wait for it or stop it first") from None
    print(f"removed {key}")


def _gc(store: FitStore, days: float, dry_run: bool) -> None:
    found = False
    for key in store.keys():
        look = _look(store, key)
        used = look.state == "whole" and look.uses != []
        if look.state == CLOSED:
            print(f"kept: {key} cannot be read")
        if look.state == CLOSED or look.age < days * 86400 or (used and not look.left):
            continue
        found = True
        why = f"({look.state}, {'unused' if look.state == 'whole' else 'cannot be continued'}, {look.size})"
        what = f"{_mib(look.litter)} that killed processes left in {key}" if used else f"{key} {why}"
        try:
            if not dry_run:
                (store.tidy if used else store.remove)(key)
            print(f"{'would remove' if dry_run else 'removed'} {what}")
        except Timeout:
            print(f"kept: {key} is being fitted by another process")
        except UserError as error:
            print(f"kept: {error}")
    if not found:
        print(f"nothing to remove in {store.root}")


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())
