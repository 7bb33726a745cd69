"""Names of job folders."""

from dipddpm.jobs import LONGEST, job_slug


def test_readable_part_and_golden_hash():
    assert (
        job_slug(["dip.layers=6", "ddpm.start_t=50"])
        == "start_t=50,layers=6-" + job_slug(["ddpm.start_t=50", "dip.layers=6"]).rsplit("-", 1)[-1]
    )


def test_slashes_and_long_overrides_stay_one_short_folder_name():
    name = job_slug([f"image.path=/a/b c/{'x' * 300}.png", "ddpm.init=raw"])
    assert "/" not in name and " " not in name and len(name) <= LONGEST + 9


def test_jobs_that_differ_only_in_what_the_slug_hides_have_different_folders():
    names = {job_slug([f"image.path={folder}/me.png"]) for folder in ("a", "b", "c")}
    names |= {job_slug(["image.path=" + "x" * 200 + c]) for c in "abc"}
    assert len(names) == 6


def test_no_overrides_still_have_a_name():
    assert job_slug([]).startswith("defaults-")
