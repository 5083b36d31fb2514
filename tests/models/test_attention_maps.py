"""Attention as numbers: the weights that the fused path reads with, on patches and on points."""

import numpy as np
import pytest
import torch

from pointinteract import PointClassifier
from pointinteract.models import (
    MultiTaskReCon,
    PointMAEPretraining,
    PointTransformer,
    ReCon,
    ReConPretraining,
    TwoTowerPretraining,
    TwoTowerReCon,
    attention_maps,
    create_model,
)
from pointinteract.models.maskpoint import MaskPointNetwork, MaskPointPretraining
from pointinteract.pretraining import PointMAEPretrainer, ReConPretrainer

SMALL = {"width": 12, "depth": 2, "n_heads": 3, "n_groups": 6, "group_size": 5,
         "patch_hidden": (4, 6, 8)}


def masked(**numbers):
    return MaskPointPretraining(MaskPointNetwork(**numbers))


def network(kind, **more):
    torch.manual_seed(0)
    made = kind(**SMALL, **more)
    with torch.no_grad():  # far enough from the start that weights differ
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made.requires_grad_(False)


@pytest.fixture(scope="module")
def pretrainer(trained_clouds):
    return ReConPretrainer(
        n_groups=6, group_size=5, image_teacher="depth_descriptor", max_epochs=1, random_state=0
    ).fit(trained_clouds)


@pytest.fixture(scope="module")
def trained_clouds():
    return np.random.default_rng(0).normal(size=(8, 40, 3)).astype(np.float32)


@pytest.mark.parametrize("block", [0, 1, -1])
def test_what_queries_read_by_these_weights_is_what_the_fused_path_reads(clouds, block):
    model = network(ReCon).eval()
    layer = model.blocks[block].cross_attention
    kept = {}
    layer.register_forward_hook(lambda _, given, out: kept.update(given=given, out=out))

    heads = [attention_maps(model, clouds[:3], block=block, head=h) for h in range(3)]

    shares = torch.from_numpy(np.stack([maps.query_weights for maps in heads], axis=1))
    value = layer.key_value(kept["given"][1])[..., 12:].view(3, 6, 3, 4).transpose(1, 2)
    read = (shares @ value).transpose(1, 2).reshape(3, 3, 12)
    torch.testing.assert_close(layer.projection(read), kept["out"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("block", [0, -1])
def test_what_patches_read_by_these_weights_is_what_the_fused_path_reads(clouds, block):
    model = network(ReCon).eval()
    layer = model.blocks[block].self_attention
    kept = {}
    layer.register_forward_hook(lambda _, given, out: kept.update(given=given, out=out))

    heads = [attention_maps(model, clouds[:3], block=block, head=h) for h in range(3)]

    shares = torch.from_numpy(np.stack([maps.local_weights for maps in heads], axis=1))
    value = layer.qkv(kept["given"][0])[..., 24:].view(3, 6, 3, 4).transpose(1, 2)
    read = (shares @ value).transpose(1, 2).reshape(3, 6, 12)
    torch.testing.assert_close(layer.projection(read), kept["out"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "queries"),
    [
        (ReCon, ("class", "image", "text")),
        (MultiTaskReCon, ("class", "image", "text")),
        (TwoTowerReCon, ("class", "image", "text")),
        (PointTransformer, ("class",)),
        (PointMAEPretraining, ()),
        (masked, ("class",)),
    ],
)
def test_every_network_with_tokens_has_the_queries_it_holds(clouds, kind, queries):
    maps = attention_maps(network(kind), clouds[:3])

    assert maps.queries == queries
    assert maps.query_weights.shape == (3, len(queries), 6)
    assert maps.local_weights.shape == (3, 6, 6)
    assert (maps.query_weights > 0).all()
    assert np.ptp(maps.local_weights) > 1e-3
    total = maps.local_weights.sum(axis=2)
    alone = kind in (ReCon, PointMAEPretraining)  # no query stands among the patches
    np.testing.assert_array_less(0.3, total)
    assert np.allclose(total, 1, atol=1e-5) == alone


@pytest.mark.parametrize("kind", [ReConPretraining, TwoTowerPretraining])
def test_queries_that_no_loss_reaches_are_left_out(clouds, kind):
    assert attention_maps(network(kind), clouds[:1]).queries == ()
    assert attention_maps(network(kind, text_width=4), clouds[:1]).queries == ("text",)
    both = {"image_width": 4, "text_width": 4}
    assert attention_maps(network(kind, **both), clouds[:1]).queries == ("image", "text")


def test_queries_keep_their_weights_when_others_are_left_out(clouds):
    model = network(ReConPretraining, text_width=4)

    text = attention_maps(model, clouds[:2]).weights("text")

    np.testing.assert_allclose(text, attention_maps(model.encoder, clouds[:2]).weights("text"))


def test_joint_attention_is_cut_at_the_right_tokens(clouds):
    model = network(MultiTaskReCon).eval()
    kept = {}
    layer = model.blocks[-1].attention
    layer.register_forward_hook(lambda _, given, out: kept.update(given=given))

    maps = attention_maps(model, clouds[:2])

    everything = layer.weights(kept["given"][0]).mean(1).detach().numpy()
    np.testing.assert_allclose(maps.weights("text"), everything[:, 2, 3:], rtol=1e-5)
    np.testing.assert_allclose(maps.weights(4), everything[:, 7, 3:], rtol=1e-5)


def test_pretrainer_and_classifier_trained_from_it(pretrainer, trained_clouds):
    y = np.array(["a", "b"] * 4)
    classifier = PointClassifier(pretrained=pretrainer, max_epochs=1, random_state=0)
    classifier.fit(trained_clouds, y)

    before = attention_maps(pretrainer, trained_clouds)
    after = attention_maps(classifier, trained_clouds)

    assert before.queries == ("image",)
    assert after.queries == ("class", "image", "text")
    np.testing.assert_allclose(np.linalg.norm(before.points, axis=2).max(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(before.centers, after.centers)
    assert repr(after).startswith("<AttentionMaps of 8 clouds: queries class, image, text;")


def test_asking_changes_nothing(trained_clouds):
    pre = PointMAEPretrainer(n_groups=6, group_size=5, max_epochs=1, random_state=0)
    pre.fit(trained_clouds)
    features = pre.transform(trained_clouds)

    attention_maps(pre, trained_clouds)

    np.testing.assert_array_equal(pre.transform(trained_clouds), features)
    assert not any(len(module._forward_pre_hooks) for module in pre.module_.modules())
    model = network(ReCon).train()
    model.blocks[0].eval()  # a frozen part
    attention_maps(model, trained_clouds)
    assert model.training and model.blocks[1].training and not model.blocks[0].training


def test_clouds_of_many_sizes_are_lists_and_agree_with_each_alone(trained_clouds):
    model = network(ReCon)
    ragged = [trained_clouds[0], trained_clouds[1][:4], trained_clouds[2][:20]]

    maps = attention_maps(model, ragged)

    assert [len(weights) for weights in maps.weights("image")] == [6, 4, 6]
    assert [len(values) for values in maps.on_points("image")] == [40, 4, 20]
    alone = attention_maps(model, [ragged[2]])
    np.testing.assert_allclose(maps.weights("text")[2], alone.weights("text")[0], rtol=1e-5)
    assert len(maps.to_frame()) == 9


def test_patches_are_those_that_the_network_cuts(trained_clouds):
    model = network(ReCon)
    cut, _ = model._patch_index(torch.from_numpy(trained_clouds))

    maps = attention_maps(model, trained_clouds)

    np.testing.assert_array_equal(maps.patches, cut.numpy())
    chosen = trained_clouds[np.arange(8)[:, None], maps.patches[:, :, 0]]
    np.testing.assert_array_equal(chosen, maps.centers)


def test_points_get_the_mean_of_their_patches(trained_clouds):
    maps = attention_maps(network(ReCon), trained_clouds[:1])
    weights, patches = maps.weights("class")[0], maps.patches[0]

    spread = maps.on_points("class")[0]

    for point in range(40):
        mine = [w for w, patch in zip(weights, patches, strict=True) if point in patch]
        if not mine:
            gaps = ((maps.centers[0] - maps.points[0, point]) ** 2).sum(1)
            mine = [weights[gaps.argmin()]]
        assert spread[point] == pytest.approx(np.mean(mine), rel=1e-5)
    nearest = maps.on_points("class", spread="nearest")[0]
    assert set(nearest) <= set(weights)
    assert nearest[patches[2, 0]] == weights[2]
    smooth = maps.on_points("class", spread="interpolate")[0]
    assert smooth[patches[2, 0]] == pytest.approx(weights[2], rel=1e-4)
    assert len(set(smooth)) > 30


def test_tokens_are_chosen_by_number_and_by_place(trained_clouds):
    maps = attention_maps(network(ReCon), trained_clouds[:3])

    tokens = maps.patch_near(maps.centers[:, 4] + 1e-3)

    assert tokens.tolist() == [4, 4, 4]
    np.testing.assert_array_equal(maps.weights([1, 0, 5])[2], maps.local_weights[2, 5])
    far = maps.outermost_patches()
    middle = maps.points.mean(axis=1, keepdims=True)
    assert far.tolist() == ((maps.centers - middle) ** 2).sum(-1).argmax(1).tolist()


def test_frame_tells_narrow_from_wide(trained_clouds):
    model = network(ReCon)
    torch.nn.init.zeros_(model.blocks[-1].cross_attention.query.weight)

    even = attention_maps(model, trained_clouds).to_frame()

    np.testing.assert_allclose(even["effective"], 6, rtol=1e-5)
    np.testing.assert_allclose(even["largest"], 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "asked", "error", "words"),
    [
        ("pointnet_basic", {}, TypeError, "ReCon with its baselines.*PointNetBasic has none"),
        ("transformer_nano", {"block": 4}, ValueError, "block must be from -4 to 3, got 4"),
        ("transformer_nano", {"block": 0.5}, TypeError, "block must be an integer, got 0.5"),
        ("recon_nano", {"head": 3}, ValueError, 'head must be "mean" or from 0 to 2, got 3'),
        ("recon_nano", {"head": "max"}, ValueError, "got 'max'"),
    ],
)
def test_what_cannot_be_shown_is_said(clouds, name, asked, error, words):
    with pytest.raises(error, match=words):
        attention_maps(create_model(name, n_classes=2), clouds, **asked)


def test_wrong_readers_are_named(clouds):
    maps = attention_maps(network(PointTransformer), clouds[:2])

    with pytest.raises(ValueError, match="no query 'image' here; there are: 'class'"):
        maps.weights("image")
    with pytest.raises(ValueError, match="cloud 1 has patches from 0 to 5, got 6"):
        maps.weights([5, 6])
    with pytest.raises(TypeError, match="numbers of patches, got 1.5"):
        maps.weights(1.5)
    with pytest.raises(TypeError, match="a PointClassifier or a network, got int"):
        attention_maps(3, clouds)
