"""Names of job folders."""

from dipddpm.config.folder_names import LONGEST, job_slug, swept_keys


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


def test_what_was_swept_comes_first_and_changes_no_hash():
    typed = ["baselines=False", f"image.path=/a/{'x' * 40}.png", "+dip.lr=0.1", "dip=skip"]
    plain, swept = job_slug(typed), job_slug(typed, swept=["image.path", "dip"])
    assert swept.startswith(f"dip=skip,path={'x' * 40}.png,baselines=False,lr=0.1-")
    assert swept[-9:] == plain[-9:]


def test_a_folder_with_the_hash_of_a_job_keeps_its_name(tmp_path):
    new = job_slug(["a=1", "b=2"], swept=["b"], sweep=tmp_path / "missing")
    assert new.startswith("b=2,a=1-")
    old = f"a=1,b=2-{new[-8:]}"
    (tmp_path / old).mkdir()
    assert job_slug(["a=1", "b=2"], swept=["b"], sweep=tmp_path) == old
    assert job_slug(["a=1", "b=3"], swept=["b"], sweep=tmp_path).startswith("b=3,a=1-")


def test_the_swept_keys_are_read_from_what_was_typed_and_from_the_sweepers_params():
    typed = ["dip.layers=4,6", "seed=range(0,3)", "image.path='a,b.png'", "image.box=[1,2,3,4]", "+dip.lr=choice(1,2)"]
    assert swept_keys(typed, None) == ["dip.layers", "dip.lr", "seed"]
    assert swept_keys(["a=1"], {"ddpm.start_t": "25,50"}) == ["ddpm.start_t"]
    assert "image.path" in swept_keys(["image.path=glob(*)", "a=1"], None)


def test_no_overrides_still_have_a_name():
    assert job_slug([]).startswith("defaults-")


def test_the_hash_of_a_name_does_not_depend_on_how_the_terminal_encodes_it():
    in_c = "image.path=caf\u00e9.png".encode().decode("ascii", "surrogateescape")  # LC_ALL=C PYTHONUTF8=0
    assert job_slug([in_c])[-8:] == job_slug(["image.path=caf\u00e9.png"])[-8:]
    assert job_slug(["image.path=caf\udce9.png"]) != job_slug(["image.path=caf\udcea.png"]), "Latin-1"
