"""Networks of the contrastive families, and the checkpoints of STRL and CrossPoint."""

import pytest
import torch

from pointinteract.exceptions import CheckpointError
from pointinteract.models import DGCNN, PointNetBasic, create_model, load_official, to_official
from pointinteract.models.contrast import (
    BootstrapNetwork,
    ContrastNetwork,
    CrossPointNetwork,
    MomentumContrast,
    ProjectionHead,
    make_image_network,
)

SMALL = dict(hidden=16, width=8)


@pytest.fixture
def points():
    return torch.randn(3, 32, 3, generator=torch.Generator().manual_seed(0))


def make(network, encoder=None, **numbers):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = encoder or PointNetBasic(n_classes=0, n_features=24)
        return network(encoder, **SMALL | numbers)


def changed(network):
    """Give everything in a network numbers that are not those of a fresh one."""
    generator = torch.Generator().manual_seed(1)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
        else:
            tensor.fill_(7)
    return network.eval()


@pytest.mark.parametrize("kind", [
    ContrastNetwork, MomentumContrast, BootstrapNetwork, CrossPointNetwork
])
def test_projections_are_made_of_the_pooled_feature(kind, points):
    network = make(kind).eval()

    rows = network.projector(network.encoder.forward_pool(points))

    if kind is BootstrapNetwork:
        rows = network.predictor(rows)
    assert torch.equal(network(points), rows) and rows.shape == (3, 8)
    assert network.permutation_invariant


def test_a_projection_is_linear_norm_relu_linear():
    head = ProjectionHead(4, 6, 2).train()
    rows = torch.randn(10, 4)

    hidden = head.layer.linear(rows)
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()

    torch.testing.assert_close(head(rows), head.out(hidden.relu()))
    assert ProjectionHead(4, 6, 2, bias=False).out.bias is None


@pytest.mark.parametrize("kind, slow, parts", [
    (MomentumContrast, "keys", ("key_encoder", "key_projector")),
    (BootstrapNetwork, "targets", ("target_encoder", "target_projector")),
])
def test_the_slow_network_begins_equal_follows_and_is_not_trained(kind, slow, parts, points):
    network = make(kind)
    trained = [getattr(network, part.split("_")[1]) for part in parts]
    for part, of in zip(parts, trained, strict=True):
        for ours, theirs in zip(getattr(network, part).parameters(), of.parameters(), strict=True):
            assert torch.equal(ours, theirs) and not ours.requires_grad

    rows = getattr(network, slow)(points)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += parameter.requires_grad  # one step of the trained ones
    before = [p.clone() for part in parts for p in getattr(network, part).parameters()]
    network.follow(0.75)

    assert not rows.requires_grad and rows.shape == (3, 8)
    after = [p for part in parts for p in getattr(network, part).parameters()]
    for now, then in zip(after, before, strict=True):
        torch.testing.assert_close(now, then + 0.25)


def test_the_target_averages_statistics_only_if_told(points):
    network = make(BootstrapNetwork).train()
    network(points)
    online = network.encoder.layer1.norm.running_mean.clone()

    network.follow(0.5)
    assert network.target_encoder.layer1.norm.running_mean.abs().max() == 0
    network.follow(0.5, buffers=True)

    torch.testing.assert_close(network.target_encoder.layer1.norm.running_mean, 0.5 * online)


def test_pictures_are_projected_where_there_is_a_network_of_them():
    network = make(CrossPointNetwork, image_channels=3)

    assert network.project_pictures(torch.rand(2, 3, 20, 24)).shape == (2, 8)
    with pytest.raises(ValueError, match="without a network of pictures"):
        make(CrossPointNetwork, image_network=None).project_pictures(torch.rand(2, 1, 8, 8))
    with pytest.raises(ValueError, match="image_network must be one of"):
        make_image_network("resnet50", 3)
    assert make_image_network("resnet18", 1).num_features == 512


# Checkpoints of the originals --------------------------------------------------------------------


def dgcnn_names(width=64):
    """Names and shapes that the DGCNN of both originals has, from their sources."""
    sizes = {1: (64, 6), 2: (64, 128), 3: (128, 128), 4: (256, 256), 5: (width, 512)}
    names = {}
    for i, (n_out, n_in) in sizes.items():
        names[f"conv{i}.0.weight"] = (n_out, n_in, 1) + (1,) * (i < 5)
        for norm in (f"bn{i}", f"conv{i}.1"):
            names |= norm_names(norm, n_out)
    return names


def norm_names(prefix, width):
    vectors = ("weight", "bias", "running_mean", "running_var")
    return {f"{prefix}.{name}": (width,) for name in vectors} | {
        f"{prefix}.num_batches_tracked": ()
    }


def head_names(prefix, n_in, hidden, n_out, bias):
    names = {f"{prefix}.0.weight": (hidden, n_in), f"{prefix}.3.weight": (n_out, hidden)}
    names |= norm_names(f"{prefix}.1", hidden)
    if bias:
        names |= {f"{prefix}.0.bias": (hidden,), f"{prefix}.3.bias": (n_out,)}
    return names


def shapes_of(state):
    return {name: tuple(value.shape) for name, value in state.items()}


def assert_same_state(first, second):
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_strl_on_dgcnn_is_written_with_the_published_names_and_read_back(points):
    network = changed(make(BootstrapNetwork, DGCNN(n_classes=0, n_features=64)))

    state = to_official(network)

    expected = {}
    for part in ("online_network", "target_network"):
        expected |= {f"{part}.{name}": shape for name, shape in dgcnn_names().items()}
        expected |= head_names(f"{part}.projector", 128, 16, 8, bias=False)
    expected |= head_names("online_network.predictor", 8, 16, 8, bias=False)
    assert shapes_of(state) == expected
    back = load_official("strl", {"state_dict": state, "epoch": 99}, k=20)
    assert torch.equal(back(points), network(points))
    assert torch.equal(back.targets(points), network.targets(points))
    assert not any(p.requires_grad for p in back.target_encoder.parameters())
    assert_same_state(to_official(back), state)


def test_what_the_script_of_strl_keeps_is_an_encoder(points):
    network = changed(make(BootstrapNetwork, DGCNN(n_classes=0, n_features=64)))
    start = "online_network."
    kept = {
        name.removeprefix(start): value
        for name, value in to_official(network).items()
        if name.startswith(start) and ".projector" not in name and ".predictor" not in name
    }

    encoder = load_official("strl", {"state_dict": kept}, k=20, emb_dims=64)

    assert torch.equal(encoder(points), network.encoder.forward_pool(points))
    assert_same_state(to_official(encoder), kept)
    assert load_official("strl", kept).n_neighbors == 40


def test_strl_on_pointnet_is_read(points):
    network = changed(make(BootstrapNetwork))

    state = to_official(network)

    assert state["online_network.conv5.weight"].shape == (24, 128, 1)
    assert not any("layer" in name for name in state)
    back = load_official("strl", state, mlp_hidden_size=16, projection_size=8)
    assert torch.equal(back(points), network(points))
    assert_same_state(to_official(back), state)


@pytest.mark.parametrize("system", ["strl", "crosspoint"])
def test_fine_tuned_classifiers_are_read(system, points):
    model = changed(DGCNN(n_classes=5, n_features=64))

    back = load_official(system, to_official(model), k=20, output_channels=5)

    assert torch.equal(back(points), model(points))
    assert_same_state(to_official(back), to_official(model))


def test_crosspoint_is_written_with_the_published_names_and_read_back(points):
    network = changed(make(CrossPointNetwork, DGCNN(n_classes=0, n_features=64)))

    state = to_official(network)

    assert shapes_of(state) == dgcnn_names() | head_names("inv_head", 128, 16, 8, bias=True)
    back = load_official("crosspoint", {f"module.{key}": value for key, value in state.items()})
    assert back.encoder.n_neighbors == 15 and back.image_encoder is None
    back = load_official("crosspoint", state, k=20)
    assert torch.equal(back(points), network(points))
    assert_same_state(to_official(back), state)


def test_files_that_do_not_fit_are_refused_and_other_encoders_have_no_original():
    network = make(CrossPointNetwork, DGCNN(n_classes=0, n_features=64))
    state = to_official(network)

    for lost in ("inv_head.1.running_var", "conv5.0.weight"):
        with pytest.raises(CheckpointError, match=lost.replace(".", r"\.")):
            load_official("crosspoint", {k: v for k, v in state.items() if k != lost})
    with pytest.raises(CheckpointError, match=r"conv6\.0\.weight"):  # of part segmentation
        load_official("crosspoint", state | {"conv6.0.weight": torch.zeros(3, 3)})
    with pytest.raises(CheckpointError, match="emb_dims"):
        load_official("crosspoint", state, emb_dims=1024)
    for kind in (BootstrapNetwork, CrossPointNetwork, ContrastNetwork, MomentumContrast):
        with pytest.raises(CheckpointError, match="no published original"):
            to_official(make(kind, create_model("pointnet", n_classes=0)))
