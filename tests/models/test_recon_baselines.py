import pytest
import torch
import torch.nn.functional as F

from pointinteract.exceptions import CheckpointError
from pointinteract.models import (
    MultiTaskPretraining,
    MultiTaskReCon,
    TwoTowerPretraining,
    TwoTowerReCon,
    to_official,
)
from pointinteract.models.recon import recon_sizes
from pointinteract.nn.patches import split_by_mask
from pointinteract.ops import gather

NUMBERS = dict(width=12, depth=2, n_heads=2, n_groups=6, group_size=5, patch_hidden=(4, 6, 8),
               decoder_depth=1, image_width=3, text_width=4)


@pytest.fixture
def points():
    return torch.randn(4, 40, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def seed():
    """Fresh weights are the same in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(1)


def n_parameters(module):
    return sum(p.numel() for p in module.parameters())


def gradients(module, loss):
    names, parameters = zip(*module.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return {name for name, grad in zip(names, found, strict=True)
            if grad is not None and bool(grad.abs().sum() > 0)}


# --- one network ------------------------------------------------------------------------------


def test_queries_and_patches_are_one_sequence_of_plain_blocks(points, generator):
    network = MultiTaskPretraining(**NUMBERS).eval()
    out = network(points, generator=generator)
    encoder = network.encoder

    # The same with the names of the textbook.
    neighborhoods, centers = encoder.patches(points)
    visible, _ = split_by_mask(out.mask)
    tokens = gather(encoder.patch_embedding(neighborhoods), visible)
    places = encoder.position(gather(centers, visible))
    queries = [torch.cat(three, dim=1).expand(4, -1, -1) for three in (
        (encoder.cls_token, encoder.img_token, encoder.text_token),
        (encoder.cls_pos, encoder.img_pos, encoder.text_pos),
    )]
    tokens, places = torch.cat([queries[0], tokens], 1), torch.cat([queries[1], places], 1)
    for block in encoder.blocks:
        tokens = tokens + places
        normed = block.norm1(tokens)
        query, key, value = block.attention.qkv(normed).unflatten(2, (3, 2, 6)).unbind(2)
        weights = torch.einsum("bqhc,bkhc->bhqk", query, key).div(6**0.5).softmax(-1)
        read = torch.einsum("bhqk,bkhc->bqhc", weights, value).flatten(2)
        tokens = tokens + block.attention.projection(read)
        inner = F.gelu(block.mlp[0](block.norm2(tokens)))
        tokens = tokens + block.mlp[2](inner)
    tokens = F.layer_norm(tokens, (12,), encoder.norm.weight, encoder.norm.bias)

    torch.testing.assert_close(out.tokens, tokens, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out.image, network.image_projection(tokens[:, 1]))
    torch.testing.assert_close(out.text, network.text_projection(tokens[:, 2]))


def test_all_losses_reach_the_one_network_and_queries_reach_the_patches(points, generator):
    network = MultiTaskPretraining(self_contrast=True, **NUMBERS)
    out = network(points, generator=generator)

    for term in (out.rebuilt, out.image, out.text, out.contrast):
        reached = gradients(network, term.square().sum())
        assert {"encoder.blocks.0.attention.qkv.weight", "encoder.img_token",
                "encoder.patch_embedding.linear1.weight"} <= reached


def test_merged_patches_are_read_like_repeated_ones():
    network = MultiTaskReCon(n_classes=3, **{k: v for k, v in NUMBERS.items()
                                            if k not in ("decoder_depth", "image_width",
                                                         "text_width")}).eval()
    tokens, centers = torch.randn(1, 4, 12), torch.randn(1, 4, 3)
    counts = torch.tensor([[1, 3, 0, 2]])
    repeated = [each[0].repeat_interleave(counts[0], dim=0)[None] for each in (tokens, centers)]
    forward = network.structure().forward_tokens

    with torch.no_grad():
        merged = forward(tokens, centers, counts)
        plain = forward(*repeated, torch.ones(1, 6, dtype=torch.long))

    torch.testing.assert_close(merged, plain, rtol=1e-4, atol=1e-5)


def test_in_one_self_attention_no_gradient_can_be_stopped(points):
    encoder = MultiTaskPretraining(**NUMBERS).encoder
    with pytest.raises(ValueError, match="no gradient can be stopped"):
        encoder.encode(torch.zeros(1, 2, 12), torch.zeros(1, 2, 3), stop_gradient=True)
    with pytest.raises(ValueError, match="stop_gradient must be False"):
        MultiTaskPretraining(stop_gradient=True, **NUMBERS)


# --- two networks -----------------------------------------------------------------------------


def test_two_towers_have_the_published_number_of_parameters():
    with torch.device("meta"):
        network = TwoTowerPretraining(**recon_sizes("base"), image_width=768, text_width=512)

    fresh = network.encoder.reconstruction
    # The class token and its position are made downstream in the original.
    of_class = fresh.cls_token.numel() + fresh.cls_pos.numel()
    assert n_parameters(network) - of_class == 51_325_792


def test_no_loss_reaches_the_other_tower(points, generator):
    network = TwoTowerPretraining(**NUMBERS)
    out = network(points, generator=generator)

    rebuilding = gradients(network, out.rebuilt.square().sum())
    regressing = gradients(network, out.image.square().sum() + out.text.square().sum())

    assert rebuilding and regressing and not rebuilding & regressing
    towers = {name.split(".")[1] for name in regressing if name.startswith("encoder")}
    assert towers == {"contrast"}
    unread = {name for name, _ in network.named_parameters()} - rebuilding - regressing
    assert {name for name in unread if not name.endswith("linear1.bias")} == {  # BatchNorm's
        "encoder.reconstruction.cls_token", "encoder.reconstruction.cls_pos"
    }


def test_the_tower_of_contrast_reads_hidden_patches_too(points):
    network = TwoTowerPretraining(**NUMBERS).eval()
    masks = [torch.zeros(4, 6, dtype=torch.bool) for _ in range(2)]
    masks[0][:, :3], masks[1][:, 3:] = True, True

    one, other = (network(points, mask=mask) for mask in masks)

    torch.testing.assert_close(one.image, other.image)
    assert (one.tokens - other.tokens).abs().max() > 1e-3
    assert one.tokens.shape == (4, 3, 12) and one.contrast is None


@pytest.mark.parametrize(("stream", "n_features"), [
    ("both", 48), ("reconstruction", 24), ("contrast", 24)
])
def test_streams_choose_what_enters_the_head(stream, n_features, points):
    numbers = {k: v for k, v in NUMBERS.items()
               if k not in ("decoder_depth", "image_width", "text_width")}
    network = TwoTowerReCon(n_classes=5, stream=stream, **numbers).eval()
    tokens = network.forward_features(points)
    parts = {"reconstruction": [tokens[:, 0], tokens[:, 3:].amax(1)],
             "contrast": [tokens[:, 1], tokens[:, 2]]}
    parts["both"] = parts["reconstruction"] + parts["contrast"]

    pooled = network.forward_pool(points)

    assert pooled.shape == (4, n_features) == (4, network.num_features)
    torch.testing.assert_close(pooled, torch.cat(parts[stream], dim=1))
    assert network(points).shape == (4, 5)
    again = TwoTowerReCon(n_classes=5, **network.config)
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(again.eval()(points), network(points))
    network.reset_classifier(0)
    torch.testing.assert_close(network(points), pooled)


def test_baselines_have_no_published_checkpoints():
    for network in (MultiTaskPretraining(**NUMBERS), TwoTowerPretraining(**NUMBERS)):
        with pytest.raises(CheckpointError, match="no published original"):
            to_official(network)
        with pytest.raises(CheckpointError, match="no published original"):
            to_official(network.encoder)
    with pytest.raises(ValueError, match="stream must be one of .*got 'all'"):
        TwoTowerReCon(stream="all")
