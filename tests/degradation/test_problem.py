"""The picture a run is about: what is given stays as it is, and nothing is estimated that is known."""

import numpy as np
import pytest
import torch

from dipddpm.degradation import filling as degrade
from dipddpm.degradation import noise
from dipddpm.degradation.problem import pose
from dipddpm.errors import UserError
from dipddpm.pictures.images import Picture


def smooth(height=61, width=67):
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    return Picture(np.stack([rows / height, columns / width, 0.5 + 0 * rows], axis=2), ("a note",), (width, height))


def noisy_picture(sigma):
    picture = smooth()
    clean = picture.pixels
    noise = np.random.default_rng(0).normal(0, sigma / 255, clean.shape)
    return Picture((clean + noise).astype(np.float32), (), picture.size)


def test_noise_is_added_to_the_picture_and_follows_from_it_and_from_the_seed():
    def noise(picture, seed):
        posed = pose(picture, kind="gaussian", sigma=25.0, seed=seed)
        assert torch.equal(posed.clean[0].permute(1, 2, 0), torch.from_numpy(picture.pixels))
        assert posed.notes == picture.notes
        return posed.noisy - posed.clean

    one = noise(smooth(), 0)
    assert 255 * one.std() == pytest.approx(25, rel=0.02)
    assert torch.equal(one, noise(smooth(), 0))
    flipped = Picture(smooth().pixels[::-1].copy(), (), smooth().size)
    for other in (noise(smooth(), 1), noise(flipped, 0)):
        assert abs(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]) < 0.03


def test_the_picture_given_is_y_and_a_reference_changes_nothing_of_it():
    picture = noisy_picture(20)
    alone = pose(picture, kind="none", sigma=None, seed=0)
    compared = pose(picture, kind="none", sigma=None, seed=0, reference=smooth())
    assert torch.equal(alone.noisy[0].permute(1, 2, 0), torch.from_numpy(picture.pixels))
    assert torch.equal(compared.noisy, alone.noisy) and compared.content == alone.content
    assert alone.clean is None
    assert torch.equal(compared.clean[0].permute(1, 2, 0), torch.from_numpy(smooth().pixels))


def test_noise_is_estimated_only_where_it_is_not_given_and_then_once(monkeypatch):
    asked = []
    monkeypatch.setattr(noise, "estimate_sigma", lambda noisy: asked.append(noisy) or 17.0)
    for kind, sigma in (("none", 12.0), ("gaussian", 25.0), ("none", 0.0)):
        posed = pose(noisy_picture(20), kind=kind, sigma=sigma, seed=0)
        assert (posed.sigma, posed.sigma_source) == (sigma, "given")
    assert not asked
    posed = pose(noisy_picture(20), kind="none", sigma=None, seed=0)
    assert not asked, "not before something needs it"
    assert (posed.sigma, posed.sigma, len(asked)) == (17.0, 17.0, 1)


def test_pixels_are_taken_away_at_random_or_as_drawn_and_filled_from_the_others():
    drawn = np.ones((61, 67, 3), np.float32)
    drawn[20:30, 10:40] = 0
    mask = Picture(drawn, (), (67, 61))
    for more, share in (({"missing": 0.25}, 0.25), ({"mask": mask, "missing": 0.25}, 300 / (61 * 67))):
        posed = pose(smooth(), kind="gaussian", sigma=25.0, seed=0, **more)
        whole = pose(smooth(), kind="gaussian", sigma=25.0, seed=0)
        assert posed.operator.missing == pytest.approx(share, abs=1e-3) and whole.operator is None
        known = posed.operator.known.expand_as(posed.noisy)
        assert torch.equal(posed.noisy[known], whole.noisy[known]), "the noise is the same"
        assert torch.equal(posed.clean, whole.clean) and posed.content == whole.content
        assert torch.equal(posed.noisy, degrade.fill(whole.noisy, posed.operator.known))
        assert (posed.shown[~known] == 0).all() and torch.equal(posed.shown[known], posed.noisy[known])
    masks = [pose(smooth(), kind="gaussian", sigma=0, seed=seed, missing=0.25).operator.known for seed in (0, 0, 1)]
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])
    with pytest.raises(UserError, match="degrade.mask is 40x61, but image.path is 67x61"):
        pose(smooth(), kind="none", sigma=0, seed=0, mask=Picture(drawn[:, :40], (), (40, 61)))


def test_known_pixels_are_put_back_where_they_have_no_noise():
    guess = torch.zeros(1, 3, 61, 67)
    posed = pose(smooth(), kind="gaussian", sigma=0, seed=0, missing=0.5)
    assert torch.equal(posed.put_back(guess), posed.shown)
    for other in ({"sigma": 5.0, "missing": 0.5}, {"sigma": 5.0}):
        assert pose(smooth(), kind="gaussian", seed=0, **other).put_back(guess) is guess


def test_the_losses_of_a_whole_noisy_picture_alone_have_a_crossing():
    """With pixels missing one loss is over fewer pixels than the other; without noise there is none to learn."""
    noises = {"sigma": 5.0}, {"sigma": 5.0, "missing": 0.5}, {"sigma": 0.0, "missing": 0.5}
    assert [pose(smooth(), kind="gaussian", seed=0, **each).has_crossing for each in noises] == [True, False, False]
