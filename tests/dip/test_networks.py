"""DIP networks: shape, parameter count, reproducibility, dead channels."""

from typing import Any

import pytest
import torch

from dipddpm.dip import networks
from dipddpm.dip.settings import DipSettings


def cnn(seed: int = 0, **options):
    settings: dict[str, Any] = {"layers": 2, "channels": 5, "kernel_size": 3, "final_relu": True, **options}
    return networks.CNN(**settings, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layers", [0, 1, 4])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_size_is_kept_and_parameters_are_those_of_the_architecture(layers, kernel_size):
    net = cnn(layers=layers, channels=7, kernel_size=kernel_size)
    assert net(torch.rand(1, 3, 11, 13)).shape == (1, 3, 11, 13)
    k2 = kernel_size**2
    expected = (3 * 7 * k2 + 7) + layers * (7 * 7 * k2 + 7) + (7 * 3 * k2 + 3)
    assert sum(p.numel() for p in net.parameters()) == expected


def test_weights_follow_the_generator_alone():
    torch.manual_seed(1)
    a = cnn(seed=3)
    torch.manual_seed(2)
    b, other = cnn(seed=3), cnn(seed=4)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(next(a.parameters()), next(other.parameters()))


def test_initial_weights_have_pytorchs_law():
    conv = torch.nn.Conv2d(16, 64, 3)
    networks.draw(conv, torch.Generator().manual_seed(0))
    bound = (16 * 9) ** -0.5
    assert conv.weight.abs().max() <= bound
    assert conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


def test_without_the_final_relu_the_output_can_be_negative():
    z = torch.rand(1, 3, 11, 13)
    with_relu, without = cnn(seed=5), cnn(seed=5, final_relu=False)
    torch.testing.assert_close(without(z).relu(), with_relu(z))
    assert without(z).min() < 0 <= with_relu(z).min()


def test_revival_redraws_until_every_channel_is_alive():
    z = torch.rand(1, 3, 16, 16)
    seeds = [s for s in range(40) if networks.dead_channels(cnn(seed=s, channels=16, layers=4)(z))]
    assert seeds, "no seed starts with a dead channel: the trap this guards against is gone"
    for seed in seeds:
        net = cnn(seed=seed, channels=16, layers=4)
        hidden = next(net.parameters()).clone()
        assert networks.revive(net, net.last, z, torch.Generator().manual_seed(seed)) > 0
        assert networks.dead_channels(net(z)) == []
        assert torch.equal(next(net.parameters()), hidden), "only the last layer is redrawn"


def test_revival_leaves_a_living_network_alone_and_gives_up_on_a_hopeless_one():
    net = cnn(final_relu=False)
    before = net.last.weight.clone()
    assert networks.revive(net, net.last, torch.rand(1, 3, 9, 9), torch.Generator()) == 0
    assert torch.equal(net.last.weight, before)
    hopeless = cnn()
    hopeless.forward = lambda z: z * 0
    with pytest.raises(RuntimeError, match="after 3 redraws"):
        networks.revive(hopeless, hopeless.last, torch.rand(1, 3, 9, 9), torch.Generator(), attempts=3)


def skip(seed: int = 0, **options):
    settings: dict[str, Any] = {"layers": 3, "channels": 6, "kernel_size": 3, **options}
    return networks.Skip(**settings, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("layers", "size"), [(1, (4, 4)), (3, (16, 16)), (3, (13, 19)), (4, (64, 48))])
def test_the_skip_network_gives_a_picture_of_any_size_within_0_and_1(layers, size):
    output = skip(layers=layers)(torch.rand(1, 3, *size))
    assert output.shape == (1, 3, *size)
    assert 0 < output.min() < output.max() < 1


@pytest.mark.parametrize("layers", [1, 4])
def test_the_skip_network_has_the_parameters_of_its_scales(layers):
    c, k2, s, norm = 7, 25, 4, 2
    first, other = (a * c * k2 + c + a * s + s for a in (3, c))  # strided, and the skip
    scale = norm * c + (c * c * k2 + c) + norm * c + norm * s  # the rest of the way down, and the skip's norm
    scale += norm * (c + s) + ((c + s) * c * k2 + c) + norm * c + (c * c + c) + norm * c  # the way up
    net = skip(layers=layers, channels=c, kernel_size=5)
    assert sum(p.numel() for p in net.parameters()) == first + (layers - 1) * other + layers * scale + 3 * c + 3
    assert not list(net.buffers()), "kept weights are all that a picture depends on"


def reach(net, size=96):
    """How far from its own place, in pixels, an output still depends on z."""
    z = torch.rand(1, 3, size, size, requires_grad=True)
    net(z)[0, :, size // 2, size // 2].sum().backward()
    assert z.grad is not None
    rows, columns = torch.nonzero(z.grad.abs().sum(dim=(0, 1)) > 0, as_tuple=True)
    return max((rows - size // 2).abs().max(), (columns - size // 2).abs().max()).item()


def test_a_plain_network_sees_its_kernels_and_a_skip_network_the_whole_picture():
    assert reach(cnn(layers=4, channels=16, final_relu=False)) == 6
    net = skip(layers=4)
    for module in net.modules():  # whose statistics are those of the whole picture by themselves
        if isinstance(module, torch.nn.GroupNorm):
            module.forward = lambda input: input
    assert reach(net) == 48


def test_the_skip_network_in_training_is_that_of_batch_normalisation_without_its_state():
    net, z = skip(), torch.rand(1, 3, 32, 32)
    expected = net(z)
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.GroupNorm):
                setattr(parent, name, torch.nn.BatchNorm2d(child.num_channels))
    torch.testing.assert_close(net(z), expected)


def test_the_skip_network_is_the_one_that_was_measured():
    output = skip()(torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)))[0]
    assert output[:, 5, 7].tolist() == pytest.approx([0.57203, 0.46228, 0.37585], abs=1e-4)
    assert output[:, 0, 15].tolist() == pytest.approx([0.40836, 0.58968, 0.49501], abs=1e-4), "at the padded edge"


def test_what_networks_cannot_be_is_refused():
    for make in (cnn, skip):
        with pytest.raises(ValueError, match="odd, got 4"):
            make(kernel_size=4)
    with pytest.raises(ValueError, match="1 or more, got 0"):
        skip(layers=0)
    with pytest.raises(ValueError, match="no network unet; there are: cnn, skip"):
        networks.build(DipSettings("unet"), torch.Generator())
    with pytest.raises(ValueError, match="ends in a sigmoid"):
        networks.build(DipSettings("skip", final_relu=True), torch.Generator())


def test_a_network_that_was_registered_is_built_by_its_name(monkeypatch):
    class Mine(torch.nn.Module):
        def __init__(self, **given):
            super().__init__()
            self.given = given

    monkeypatch.setitem(networks.NETWORKS, "mine", Mine)
    for asked in ("mine", DipSettings(network="mine")):
        mine = networks.build(asked)
        assert isinstance(mine, Mine) and mine.given["layers"] == 4
    with pytest.raises(ValueError, match="there is no network min .did you mean mine"):
        networks.build("min")
