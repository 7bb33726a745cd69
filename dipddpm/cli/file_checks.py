"""What a job reads from disk, looked at before any work; imports no torch."""

from __future__ import annotations

from pathlib import Path

from dipddpm.config.degrade_ranges import check_sides, check_small, enlarged, magnification
from dipddpm.config.ranges import check_halvings
from dipddpm.config.schema import Config
from dipddpm.diffusion import folder as prior_folder
from dipddpm.errors import UserError, need
from dipddpm.files import is_kept_file
from dipddpm.names import LOOKS, STLPIPS_SMALLEST
from dipddpm.pictures import images, masks


def check_files(c: Config, command: str, seen: set[str]) -> None:
    """Look at the pictures, the kept epoch, the store and the prior of a job.

    Args:
        c: Checked.
        command: ``fit`` or ``sample``.
        seen: What was looked at for jobs before, which is not looked at again; added to.

    Raises:
        UserError: For what is not there or cannot be read.
    """

    def new(name: str) -> bool:
        return not (name in seen or seen.add(name))

    path, reference, box = c.image.path, c.image.reference, c.image.box
    times = magnification(c.degrade)
    if reference and new(f"image.reference {reference} {path} {box} {times}"):
        given = images.check(path, box)
        images.check_same(images.check(reference, enlarged(box, times), "image.reference"), given, times=times)
    elif not reference and new(f"image.path {path} {box}"):
        images.check(path, box)
    if (mask := c.degrade.mask) and new(f"degrade.mask {mask} {path} {box}"):
        picture = images.load(mask, box=box, key="degrade.mask")
        images.check_same(picture.size, images.check(path, box), "degrade.mask")
        masks.drawn(picture)
    file = str(c.checkpoint)
    if is_kept_file(file) and new(f"checkpoint {file}") and not Path(file).expanduser().is_file():
        raise UserError(
            f"checkpoint={file}: no such file; type stop, last, oracle, an epoch, or the path of a kept epoch, such as "
            f"{c.store}/<key>/epochs/000250.safetensors"
        )
    store = Path(c.store).expanduser().absolute()
    if new(f"store {store}"):
        in_the_way = next((p for p in (store, *store.parents) if p.exists() and not p.is_dir()), None)
        if in_the_way is not None:
            raise UserError(f"store={c.store} is not allowed: {in_the_way} is no folder; type store=<folder>")
    p = c.prior
    here = prior_folder.local(p.name, p.path, p.repo) or not p.repo  # of one on the Hub nothing is asked yet
    size = c.image.size if isinstance(c.image.size, int) else None
    small = (path, box, times) if c.degrade.downscale else None
    network = (c.dip.network.name, c.dip.layers, c.dip.kernel_size) if c.checkpoint != "none" else None
    of_size = (c.degrade.downscale, small, c.degrade.correlation)  # what else a size has to suit
    if here and new(f"prior {p.name} {p.path} {size} {network} {of_size}"):
        folder = prior_folder.resolve(p.name, p.path, None, None, config_only=command == "fit")
        if command == "sample" or size is None:  # a fit asks a prior for its size alone
            own = prior_folder.sample_size(folder)
            if size is not None:
                prior_folder.check_size(folder, size)
            size = size or own
    if size is not None:
        if c.checkpoint != "none":
            check_halvings(c.dip, size)
        check_sides(c.degrade, size)
        if small and new(f"degrade.downscale {small} {size} {c.degrade.downscale}"):
            check_small(c, images.check(path, box), size)
        looks = [o for o in c.objective if o in LOOKS]
        need(not looks or size >= STLPIPS_SMALLEST, "image.size", size,
             f"{STLPIPS_SMALLEST} or more for objective={''.join(looks[:1])}")  # fmt: skip
