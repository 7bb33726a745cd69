"""Names of job folders."""

from dipddpm.config.folder_names import LONGEST, job_slug


def test_the_name_is_readable_and_does_not_depend_on_order():
    assert job_slug(["dip.layers=6", "ddpm.start_t=50"]) == "layers=6,start_t=50-1244c5b2"
    assert job_slug(["ddpm.start_t=50", "dip.layers=6"]) == "layers=6,start_t=50-1244c5b2"


def test_what_is_short_comes_before_long_paths():
    name = job_slug([f"image.path={'x' * 300}.png", "zebra.seed=3"])
    assert name.startswith("seed=3,path=xxx")


def test_slashes_and_long_overrides_stay_one_short_folder_name():
    name = job_slug([f"image.path=/a/b c/{'x' * 300}.png", "ddpm.init=raw"])
    assert "/" not in name and " " not in name and len(name) <= LONGEST + 9


def test_jobs_that_differ_only_in_what_the_slug_hides_have_different_folders():
    names = {job_slug([f"image.path={folder}/me.png"]) for folder in ("a", "b", "c")}
    names |= {job_slug(["image.path=" + "x" * 200 + c]) for c in "abc"}
    assert len(names) == 6


def test_another_command_has_another_folder():
    overrides = ["dip.layers=6"]
    assert job_slug(overrides, "train_dip").startswith("train_dip,layers=6-")
    assert job_slug(overrides, "train_dip")[-8:] != job_slug(overrides)[-8:]
    assert job_slug(overrides, "sample") == job_slug(overrides)


def test_how_a_job_runs_is_not_in_its_name():
    typed = ["dip.layers=6", "threads=2", "+device=cpu"]
    assert job_slug(typed, ignored=["threads", "device"]) == job_slug(["dip.layers=6"])
    assert job_slug(typed, ignored=["device"]) == job_slug(["dip.layers=6", "threads=2"])


def test_no_overrides_still_have_a_name():
    assert job_slug([]).startswith("defaults-")


def test_the_hash_of_a_name_does_not_depend_on_how_the_terminal_encodes_it():
    in_c = "image.path=caf\u00e9.png".encode().decode("ascii", "surrogateescape")  # LC_ALL=C PYTHONUTF8=0
    assert job_slug([in_c])[-8:] == job_slug(["image.path=caf\u00e9.png"])[-8:]
    assert job_slug(["image.path=caf\udce9.png"]) != job_slug(["image.path=caf\udcea.png"]), "Latin-1"
