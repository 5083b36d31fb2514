import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from pointinteract.classification import PointClassifier
from pointinteract.datasets import make_shapes
from pointinteract.exceptions import PointInteractWarning
from pointinteract.models import PointTransformer
from pointinteract.models.maskpoint import MaskPointNetwork, MaskPointPretraining
from pointinteract.nn.momentum import follow
from pointinteract.persistence import load, save
from pointinteract.pretraining import MaskPointPretrainer
from pointinteract.pretraining._queries import mean_spacing, place_queries

SMALL = dict(n_groups=8, group_size=8, n_real=16, n_fake=24, max_epochs=2, batch_size=4,
             queue_length=8, random_state=0)
TINY = dict(width=12, depth=1, n_heads=3, n_groups=8, group_size=6, patch_hidden=(4, 8, 8),
            patch_width=None, n_projected=10)


@pytest.fixture(scope="module")
def X():
    return make_shapes(8, n_points=64, return_X_y=True, random_state=0)[0]


@pytest.fixture(scope="module")
def fitted(X):
    return MaskPointPretrainer(contrast=True, **SMALL).fit(X)


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    network = MaskPointPretraining(MaskPointNetwork(**TINY), contrast=True, queue_length=5)
    with torch.no_grad():  # far enough from zero for differences to show
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network.eval()


@pytest.fixture
def points():
    return torch.randn(3, 40, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def queries():
    return torch.randn(3, 7, 3, generator=torch.Generator().manual_seed(1))


# Queries ---------------------------------------------------------------------------------------


def test_spacing_is_the_mean_distance_to_the_nearest_other_point():
    points = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [4, 0, 0]]])

    assert mean_spacing(points).item() == pytest.approx((1 + 1 + 3) / 3)
    assert mean_spacing(points[:, :1]).tolist() == [0.0]


def test_fake_queries_fill_the_box_and_the_near_ones_are_ambiguous():
    points = torch.tensor([[[0.0, 0, 0], [2, 4, 8], [1, 1, 1]]])
    draws = torch.tensor([[[0.0, 0, 0], [0.5, 0.5, 0.5], [1, 0, 0.5]]])

    found, labels = place_queries(points, points[:, :2], draws, 0.5)

    assert found[0, 2:].tolist() == [[0, 0, 0], [1, 2, 4], [2, 0, 4]]
    assert labels.tolist() == [[1, 1, -1, 0, 0]]
    # (1, 2, 4) is sqrt(10) from the third point; the two real queries are sqrt(84) apart.
    assert place_queries(points, points[:, :2], draws, 3.2)[1].tolist() == [[1, 1, -1, -1, 0]]
    assert place_queries(points, points[:, :2], draws)[1].tolist() == [[1, 1, -1, -1, -1]]
    assert place_queries(points, points[:, :2], draws, 0.0)[1].tolist() == [[1, 1, 0, 0, 0]]


# The network -----------------------------------------------------------------------------------


def test_queries_do_not_see_each_other(tiny, points, queries):
    mask = tiny.draw_mask(points, torch.Generator().manual_seed(0))

    together = tiny(points, queries, mask=mask).logits
    alone = tiny(points, queries[:, 3:4], mask=mask).logits

    torch.testing.assert_close(alone, together[:, 3:4])
    assert not torch.allclose(together[:, :1], together[:, 1:2], atol=1e-3)


def test_what_is_hidden_cannot_be_known(tiny, points, queries):
    mask = tiny.draw_mask(points, torch.Generator().manual_seed(0))
    neighborhoods, centers = tiny.encoder.patches(points)
    plain = tiny(points, queries, mask=mask)
    moved = centers + 2.0 * mask[:, None], neighborhoods + 2.0 * mask[:, None, None]
    tiny.encoder.patches = lambda _: (moved[1], moved[0])

    assert torch.equal(tiny(points, queries, mask=mask).logits, plain.logits)
    assert not torch.equal(tiny(points, queries, mask=~mask).logits, plain.logits)
    assert mask.sum() == 7 and plain.tokens.shape == (3, 2, 12)


def test_the_copy_follows_before_its_keys_are_made(tiny, points):
    mask = torch.zeros(8, dtype=torch.bool)
    expected = pickle.loads(pickle.dumps(tiny))
    follow(expected.key, expected.query, tiny.momentum)

    keys = tiny.keys(points, mask=mask)

    assert torch.equal(keys, expected.key.project(points, mask)) and not keys.requires_grad
    for ours, theirs in zip(tiny.key.parameters(), expected.key.parameters(), strict=True):
        assert torch.equal(ours, theirs) and not ours.requires_grad


def test_impossible_settings_of_the_network_are_refused(tiny, points, queries):
    plain = MaskPointPretraining(MaskPointNetwork(**TINY))

    with pytest.raises(ValueError, match="mask or a generator"):
        tiny(points, queries)
    with pytest.raises(ValueError, match=r"mask must be \(8,\)"):
        tiny(points, queries, mask=torch.zeros(3, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match="contrast=True"):
        plain.keys(points)
    with pytest.raises(ValueError, match="n_heads must divide the width 12"):
        MaskPointNetwork(**TINY | {"n_heads": 5})


# The estimator ---------------------------------------------------------------------------------


def test_features_are_maximum_and_mean_of_patches_and_do_not_depend_on_the_batch(fitted, X):
    with torch.inference_mode():
        prepared = torch.from_numpy(fitted._prepare(X))
        tokens = fitted.module_.encoder.forward_features(prepared)[:, 1:]
        expected = torch.cat([tokens.amax(1), tokens.mean(1)], dim=1)

    features = fitted.transform(X)
    alone = np.concatenate([fitted.transform(X[i : i + 1]) for i in range(8)])

    np.testing.assert_allclose(features, expected, atol=1e-5)
    np.testing.assert_allclose(alone, features, atol=1e-5)
    assert features.shape == (8, 384) and len(fitted.get_feature_names_out()) == 384


def test_training_learns_where_points_are():
    # Rods along the axes: most of their boxes is empty, so what is near a visible patch tells.
    generator = np.random.default_rng(0)
    X = generator.normal(size=(8, 64, 3)) * (0.02 + 0.98 * np.eye(3)[np.arange(8) % 3])[:, None]
    settings = {"max_epochs": 30, "batch_size": 8, "mask_ratio": 0.5, "learning_rate": 3e-3,
                "augmentation": None, "normalize": False}
    pre = MaskPointPretrainer(**SMALL | settings).fit(X + [3, 0, 0])

    assert pre.history_.queries.iloc[-1] < 0.5 * pre.history_.queries.iloc[0]
    assert pre.history_.accuracy.iloc[0] < 0.7 < pre.history_.accuracy.iloc[-1]


def test_the_record_holds_the_terms_of_the_loss(fitted):
    history = fitted.history_

    np.testing.assert_allclose(history.loss, history.queries + 0.01 * history.contrast, rtol=1e-5)
    assert history.accuracy.between(0, 1).all()


def test_the_copy_and_the_queue_are_used_in_training(fitted, X):
    start = clone(fitted).set_params(max_epochs=0).fit(X).module_
    module = fitted.module_

    for name, parameter in start.key.named_parameters():  # they began as equals
        assert torch.equal(parameter, start.query.get_parameter(name)), name
    moved = [module.key.get_parameter(name) for name in ("encoder.position.0.weight",)]
    assert not torch.equal(moved[0], module.query.encoder.position[0].weight)
    assert not torch.equal(moved[0], start.key.encoder.position[0].weight)
    assert not torch.equal(module.queue.queue, start.queue.queue)
    assert module.queue.queue_ptr.tolist() == [0]  # 16 keys went into 8 places


def test_same_seed_same_bits_and_other_seed_other_ones(fitted, X):
    again = clone(fitted).fit(X).transform(X)
    other = clone(fitted).set_params(random_state=1).fit(X).transform(X)

    assert np.array_equal(again, fitted.transform(X)) and not np.array_equal(other, again)


@pytest.mark.slow
def test_each_option_changes_the_result(fitted, X):
    reference = fitted.transform(X)

    for settings in ({"mask_ratio": 0.5}, {"n_real": 8}, {"n_fake": 8},
                     {"real_queries": "centers"}, {"ambiguous_distance": 0.0},
                     {"decoder_depth": 2}, {"query_loss": "bce"}, {"contrast": False},
                     {"contrast_weight": 1.0}, {"temperature": 1.0}, {"queue_length": 4},
                     {"drop_path": 0.0}):
        changed = clone(fitted).set_params(**settings).fit(X).transform(X)
        assert not np.array_equal(changed, reference), settings


def test_discrimination_shows_what_was_asked_and_answered(fitted, X):
    shown = fitted.discriminate(X)

    prepared = fitted._prepare(X)
    for i in range(len(X)):
        cloud = {tuple(point) for point in prepared[i]}
        asked, label, score = shown.queries[i], shown.label[i], shown.score[i]
        assert shown.visible[i].shape == (8, 3) and asked.shape == (40, 3)
        assert {tuple(point) for point in asked[:16]} <= cloud
        assert (label[:16] == 1).all() and set(label[16:]) <= {-1, 0}
        assert (0 <= score).all() and (score <= 1).all()
        kept = label >= 0
        assert shown.accuracy[i] == pytest.approx(((score > 0.5) == label)[kept].mean())
        distance = np.sqrt(((asked[16:, None] - prepared[i][None]) ** 2).sum(-1).min(1))
        limit = mean_spacing(torch.from_numpy(asked[None, :16])).item()
        assert ((distance < limit) == (label[16:] == -1)).all()
    again, other = fitted.discriminate(X), fitted.discriminate(X, random_state=1)
    assert np.array_equal(again.score[0], shown.score[0])
    assert not np.array_equal(other.queries[0], shown.queries[0])


def test_a_classifier_starts_from_it(fitted, X):
    classifier = PointClassifier(pretrained=fitted, max_epochs=1, random_state=0)

    classifier.fit(X, np.arange(8) % 2)

    assert type(classifier.module_) is PointTransformer
    assert classifier.predict_proba(X).shape == (8, 2)


def test_copies_and_files_answer_the_same_and_go_on_with_copy_and_queue(fitted, X, tmp_path):
    for copied in (pickle.loads(pickle.dumps(fitted)),
                   load(save(fitted, tmp_path / "maskpoint.npz"))):
        assert np.array_equal(copied.transform(X), fitted.transform(X))
        assert torch.equal(copied.module_.queue.queue, fitted.module_.queue.queue)
        assert copied.partial_fit(X).n_epochs_ == 3


def test_ragged_clouds_and_further_channels(X):
    ragged = [cloud[: 30 + i] for i, cloud in enumerate(X)]
    with_normals = np.concatenate([X, X], axis=2)

    small = MaskPointPretrainer(**SMALL).fit(ragged)
    wide = MaskPointPretrainer(**SMALL).fit(with_normals)

    assert small.transform(ragged).shape == (8, 384)
    assert len(small.discriminate(ragged).accuracy) == 8
    assert wide.discriminate(with_normals).visible[0].shape == (8, 3)


@pytest.mark.parametrize("settings, error, message", [
    ({"n_real": 0}, ValueError, "n_real must be at least 1"),
    ({"n_fake": 1.5}, TypeError, "n_fake must be an integer"),
    ({"mask_ratio": 0.0}, ValueError, "mask_ratio must be in"),
    ({"real_queries": "all"}, ValueError, "real_queries must be one of 'points', 'centers'"),
    ({"ambiguous_distance": -1.0}, ValueError, "ambiguous_distance must be in"),
    ({"query_loss": "hinge"}, ValueError, "query_loss must be one of 'focal'"),
    ({"decoder_depth": 0}, ValueError, "decoder_depth must be at least 1"),
    ({"temperature": 0.0}, ValueError, "temperature must be in"),
    ({"momentum": 1.5}, ValueError, "momentum must be in"),
    ({"queue_length": 0}, ValueError, "queue_length must be at least 1"),
])
def test_wrong_settings_are_refused_in_fit_and_leave_nothing(settings, error, message, X):
    pre = MaskPointPretrainer(**SMALL | settings)

    with pytest.raises(error, match=message):
        pre.fit(X)

    assert not hasattr(pre, "module_")


def test_clouds_of_one_point_are_warned_of_and_pass(X):
    with pytest.warns(PointInteractWarning, match="nothing to learn from"):
        pre = MaskPointPretrainer(contrast=True, **SMALL).fit(X[:, :1])

    assert np.isfinite(pre.transform(X[:, :1])).all()
