"""The plain transformer: golden numbers of both originals, and what it says of itself."""

import json
import warnings

import numpy as np
import pytest
import torch

from pointinteract import InteractionExplainer
from pointinteract.exceptions import CheckpointError
from pointinteract.models import PointTransformer, create_model, load_official, to_official
from pointinteract.nn.structure import PatchTokens

SMALL = {
    "n_classes": 4,
    "width": 24,
    "depth": 2,
    "n_heads": 3,
    "n_groups": 8,
    "group_size": 6,
    "patch_hidden": (8, 16, 24),
}
POINTS_OF = {"point_mae": "pretrain_eval", "point_bert": "dvae_eval_hard"}


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(params=[None, 20], ids=["point_mae", "point_bert"])
def small(request, generator):
    """A small network with weights and statistics that training might have left."""
    head = "mlp2" if request.param else "mlp"
    network = PointTransformer(patch_width=request.param, head=head, **SMALL)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


# --- golden numbers ---------------------------------------------------------------------------


def fill_weights(entries, base):
    """Draw the weights as the folder's README says."""
    state = {}
    for entry in entries:
        name, shape = entry["name"], tuple(entry["shape"])
        z = np.random.default_rng(base + entry["index"]).standard_normal(shape)
        if entry["dtype"] == "int64":
            state[name] = torch.zeros(shape, dtype=torch.int64)
            continue
        if name.endswith("running_var"):
            z = 1 + 0.1 * np.abs(z)
        elif name.endswith("running_mean"):
            z = 0.1 * z
        elif len(shape) <= 1:
            z = 1 + 0.1 * z if name.endswith("weight") else 0.1 * z
        else:
            z = z / np.sqrt(np.prod(shape[1:]))
        state[name] = torch.from_numpy(np.asarray(z, dtype=np.float32))
    return state


@pytest.fixture(scope="module", params=sorted(POINTS_OF))
def golden(request, shared):
    """Name of the system, its classifier, official state, points and arrays."""
    folder = shared / "golden" / request.param
    config = json.loads((folder / "config.json").read_text())
    entries = json.loads((folder / "keys_finetune.json").read_text())
    state = fill_weights(entries, config["fbase"])
    with np.load(folder / "finetune_eval.npz", allow_pickle=False) as archive:
        arrays = dict(archive)
    with np.load(folder / f"{POINTS_OF[request.param]}.npz", allow_pickle=False) as archive:
        points = torch.from_numpy(archive["points"])
    groups = config if "num_group" in config else config["dv"]
    sizes = {name: config["tc"][name] for name in ("trans_dim", "depth", "num_heads")}
    sizes |= {name: groups[name] for name in ("num_group", "group_size")}
    module = load_official(request.param, state, cls_dim=config["cls"], **sizes)
    return request.param, module, state, points, arrays


@pytest.mark.golden
def test_golden_classifier(golden):
    _, module, _, points, arrays = golden

    with torch.no_grad():
        found = {
            "logits": module(points),
            "head_in": module.forward_pool(points),
            "norm_out": module.forward_features(points),
        }

    for name in found.keys() & arrays.keys():
        np.testing.assert_allclose(found[name], arrays[name], rtol=1e-4, atol=1e-5, err_msg=name)
    loss = torch.nn.functional.cross_entropy(
        found["logits"], torch.from_numpy(arrays["labels"].astype(np.int64))
    )
    plain = arrays["ce_loss"] if "ce_loss" in arrays else arrays["loss_plain_ce"]
    assert loss.item() == pytest.approx(float(plain), rel=1e-5)


@pytest.mark.golden
def test_golden_state_comes_back_to_the_last_bit(golden):
    system, module, state, _, _ = golden

    written = to_official(module)

    assert module.official_system == system
    assert list(written) == sorted(state)
    for key, value in state.items():
        assert written[key].dtype == value.dtype and torch.equal(written[key], value), key


@pytest.mark.golden
def test_golden_numbers_notice_a_position_that_is_added_once(golden):
    """The position is added again before every block; leaving it out of one must show."""
    _, module, _, points, arrays = golden
    hook = module.blocks[1].register_forward_pre_hook(
        lambda block, args: (args[0] - positions(module, points), *args[1:])
    )

    with torch.no_grad():
        logits = module(points)

    hook.remove()
    assert np.abs(logits.numpy() - arrays["logits"]).max() > 1e-2


def positions(module, points):
    _, centers = module.structure().patches(points)
    of_class = module.cls_pos.expand(len(points), -1, -1)
    return torch.cat([of_class, module.position(centers)], dim=1)


# --- sizes and heads --------------------------------------------------------------------------


def test_published_networks_have_the_published_number_of_parameters():
    """22.07 million with Point-BERT's head and bridge, 22.1 with Point-MAE's."""

    def count(**numbers):
        with torch.device("meta"):
            return sum(p.numel() for p in PointTransformer(**numbers).parameters())

    assert round(count(patch_width=256, head="mlp2") / 1e6, 2) == 22.07
    assert round(count() / 1e6, 1) == 22.1


@pytest.mark.parametrize(("head", "n_layers"), [("mlp", 3), ("mlp2", 2), ("linear", 1)])
def test_heads_go_to_the_original_and_back(small, head, n_layers):
    small.reset_classifier(3, head=head)

    written = to_official(small)
    again = load_official("point_mae", written, num_heads=3, num_group=8, group_size=6)

    matrices = [k for k, v in written.items() if k.startswith("cls_head") and v.ndim == 2]
    assert len(matrices) == n_layers and again.head_type == head
    points = torch.randn(2, 30, 3)
    with torch.no_grad():
        assert torch.equal(again.eval()(points), small(points))


def test_a_new_head_keeps_its_kind_and_the_rest(small):
    before = {k: v.clone() for k, v in small.state_dict().items() if "head" not in k}
    kind = small.head_type

    small.reset_classifier(9)

    assert small.head_type == kind and not small.head.training
    assert small(torch.randn(2, 20, 3)).shape == (2, 9)
    assert all(torch.equal(small.state_dict()[k], v) for k, v in before.items())
    with pytest.raises(ValueError, match="head must be one of mlp, mlp2, linear, got 'deep'"):
        small.reset_classifier(9, head="deep")


def test_config_makes_another_one_like_it(small):
    again = PointTransformer(n_classes=4, **small.config)
    again.load_state_dict(small.state_dict())

    points = torch.randn(2, 30, 3)
    with torch.no_grad():
        assert torch.equal(again.eval()(points), small(points))


def test_wrong_sizes_are_named(small):
    with pytest.raises(CheckpointError, match="depth=3.*depth=2"):
        load_official("point_mae", to_official(small), depth=3)


def test_linear_layers_start_small_and_without_bias():
    network = create_model("transformer_nano")

    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Linear):
            assert layer.weight.abs().max() < 0.12 and layer.weight.std() > 0.01, name
            assert layer.bias is None or not layer.bias.any(), name


# --- structure --------------------------------------------------------------------------------


def test_goes_through_its_patches_to_the_same_logits(small, generator):
    points = torch.randn(2, 40, 3, generator=generator)
    structure = small.structure()

    with torch.no_grad():
        index, centers = structure.patches(points)
        tokens = structure.embed(points, index)
        found = structure.forward_tokens(tokens, centers, torch.ones(2, 8, dtype=torch.long))

        assert isinstance(structure, PatchTokens)
        assert index.shape == (2, 8, 6) and tokens.shape == (2, 8, 24)
        torch.testing.assert_close(found, small(points), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("n_unique", "n_padding"), [(8, 0), (6, 3), (1, 4)])
def test_merged_tokens_are_read_like_repeated_ones(small, n_unique, n_padding, generator):
    tokens = torch.randn(1, n_unique + n_padding, 24, generator=generator)
    centers = torch.randn(1, n_unique + n_padding, 3, generator=generator)
    counts = torch.arange(n_unique + n_padding).unsqueeze(0) % 3 + 1
    counts[0, n_unique:] = 0
    tokens[counts == 0] = 20.0  # would draw all attention and win the maximum
    forward = small.structure().forward_tokens
    spread = [each[0].repeat_interleave(counts[0], dim=0)[None] for each in (tokens, centers)]

    with torch.no_grad():
        merged = forward(tokens, centers, counts)
        plain = forward(*spread, torch.ones(1, spread[0].shape[1], dtype=torch.long))
        uncounted = forward(tokens, centers, (counts > 0).long())

    torch.testing.assert_close(merged, plain, rtol=1e-4, atol=1e-5)
    if n_unique > 1:
        assert (merged - uncounted).abs().max() > 1e-4


def test_knows_the_token_of_an_empty_patch(small):
    token, center = small.structure().baseline()

    with torch.no_grad():
        embedded = small.patch_embedding(torch.zeros(1, 1, 6, 3))
        torch.testing.assert_close(token, small.bridge(embedded)[0, 0], rtol=1e-4, atol=1e-6)
    assert torch.equal(center, torch.zeros(3))


@pytest.mark.parametrize("absence", ["token_drop", "token_baseline"])
def test_interactions_of_patches_need_no_plain_forwards(small, absence):
    """The class token reads among the patches, so how many empty ones there are matters."""
    cloud = np.random.default_rng(0).standard_normal((1, 40, 3)).astype(np.float32)
    explainer = InteractionExplainer(4, players="patches", absence=absence, engine="patches")

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one says where an engine disagrees with the network
        explainer.explain(small, cloud)
