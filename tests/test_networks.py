"""DIP networks: shape, parameter count, reproducibility, dead channels."""

import pytest
import torch

from dipddpm import networks


def cnn(seed: int = 0, **options):
    settings = {"layers": 2, "channels": 5, "kernel_size": 3, "final_relu": True} | options
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
    assert not torch.equal(a.convs[0].weight, other.convs[0].weight)


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
        hidden = net.convs[0].weight.clone()
        assert net.revive(z, torch.Generator().manual_seed(seed)) > 0
        assert networks.dead_channels(net(z)) == []
        assert torch.equal(net.convs[0].weight, hidden), "only the last layer is redrawn"


def test_revival_leaves_a_living_network_alone_and_gives_up_on_a_hopeless_one():
    net = cnn(final_relu=False)
    before = net.convs[-1].weight.clone()
    assert net.revive(torch.rand(1, 3, 9, 9), torch.Generator()) == 0
    assert torch.equal(net.convs[-1].weight, before)
    hopeless = cnn()
    hopeless.forward = lambda z: z * 0
    with pytest.raises(RuntimeError, match="after 3 redraws"):
        hopeless.revive(torch.rand(1, 3, 9, 9), torch.Generator(), attempts=3)


def test_even_kernels_and_unknown_networks_are_refused():
    with pytest.raises(ValueError, match="odd, got 4"):
        cnn(kernel_size=4)
    with pytest.raises(ValueError, match="got skip"):
        networks.build("skip", generator=torch.Generator())
