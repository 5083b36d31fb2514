"""Residual networks against the same written with plain layers one after the other."""

import copy

import pytest
import torch
import torch.nn.functional as F

from pointinteract.nn.resnet import ResNet, resnet18


def literal(net, pictures):
    """The network as its paper draws it, layer after layer."""

    def norm(maps, layer):
        return F.batch_norm(
            maps,
            layer.running_mean.clone(),
            layer.running_var.clone(),
            layer.weight,
            layer.bias,
            training=net.training,
        )

    maps = F.relu(norm(net.conv1(pictures), net.bn1))
    if net.stem_pool:
        maps = F.max_pool2d(maps, 3, 2, 1)
    for stage in range(1, net.n_stages + 1):
        for block in getattr(net, f"layer{stage}"):
            past = maps
            if block.downsample is not None:
                past = norm(block.downsample[0](maps), block.downsample[1])
            inner = F.relu(norm(block.conv1(maps), block.bn1))
            maps = F.relu(norm(block.conv2(inner), block.bn2) + past)
    return net.fc(F.adaptive_avg_pool2d(maps, 1).flatten(1))


@pytest.fixture
def net():
    """A small one in float64, its stored statistics and gains drawn at random."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ResNet(n_channels=2, n_classes=3, widths=(4, 6, 8), n_blocks=(1, 2, 1)).double()
        for name, tensor in net.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif "bn" in name and tensor.is_floating_point():
                tensor.normal_()
    return net


@pytest.mark.parametrize("training", [False, True])
def test_outputs_and_gradients_equal_the_literal_form(net, training):
    net.train(training)
    pictures = torch.randn(3, 2, 40, 33, dtype=torch.float64)
    results = []
    for run in (lambda x: literal(net, x), net):
        x = pictures.clone().requires_grad_()
        net.zero_grad()
        scores = run(x)
        scores.square().sum().backward()
        results.append([scores.detach(), x.grad, *(p.grad.clone() for p in net.parameters())])

    for found, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


def test_resnet18_has_the_names_and_the_size_of_the_usual_checkpoints():
    state = resnet18(n_classes=1000).state_dict()

    counted = sum(
        t.numel() for n, t in state.items() if "running" not in n and "num_batches" not in n
    )
    assert counted == 11_689_512
    assert state["conv1.weight"].shape == (64, 3, 7, 7)
    assert state["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1)
    assert {"bn1.weight", "layer4.1.bn2.running_var", "layer3.0.downsample.1.bias"} <= set(state)
    assert state["fc.weight"].shape == (1000, 512)


def test_maps_and_pooled_features():
    net = resnet18().eval()
    pictures = torch.randn(2, 3, 64, 96)

    with torch.no_grad():
        maps, pooled, out = (
            net.forward_features(pictures),
            net.forward_pool(pictures),
            net(pictures),
        )

    assert maps.shape == (2, 512, 2, 3)
    torch.testing.assert_close(pooled, maps.mean((2, 3)))
    assert torch.equal(out, pooled)


def test_stride_one_without_pooling_keeps_the_size():
    net = ResNet(widths=(4,), n_blocks=(1,), stem_size=3, stem_stride=1, stem_pool=False)

    assert net.forward_features(torch.zeros(1, 3, 10, 7)).shape == (1, 4, 10, 7)


def test_blocks_begin_as_the_way_past():
    net = ResNet(widths=(4,), n_blocks=(2,), zero_residual=True)

    maps = net.layer1(torch.ones(1, 4, 5, 5))

    assert torch.equal(maps, torch.ones(1, 4, 5, 5))


def test_a_single_pixel_in_training_uses_stored_statistics():
    net = ResNet(widths=(4, 8), n_blocks=(1, 1)).train()
    before = copy.deepcopy(net.state_dict())

    out = net(torch.randn(1, 3, 4, 4))

    assert torch.isfinite(out).all()
    after = net.state_dict()
    assert torch.equal(after["layer2.0.bn1.running_var"], before["layer2.0.bn1.running_var"])
    assert not torch.equal(after["bn1.running_mean"], before["bn1.running_mean"])


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"widths": (4, 8)}, "one length, at least 1; got 2 and 4"),
        ({"widths": (), "n_blocks": ()}, "got 0 and 0"),
        ({"stem_size": 4}, "stem_size must be odd, got 4"),
    ],
)
def test_bad_sizes_are_named(numbers, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**numbers)
