"""PointSegmenter: learn, answer for every point, know the category."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from pointinteract.exceptions import CheckpointError
from pointinteract.metrics import instance_miou
from pointinteract.segmentation import PointSegmenter


class Trunk(nn.Module):
    """Features of points, with statistics that follow the data."""

    num_features = 16

    def __init__(self, n_channels):
        super().__init__()
        self.layer = nn.Linear(n_channels, 16)
        self.norm = nn.BatchNorm1d(16)

    def forward(self, points):
        return self.norm(self.layer(points).flatten(0, 1)).relu().unflatten(0, points.shape[:2])

    def forward_pool(self, points):
        return self(points).amax(1)


class Tiny(nn.Module):
    """A user's own network; the category, where there is one, moves all logits."""

    def __init__(self, n_channels, n_classes, n_categories):
        super().__init__()
        self.encoder = Trunk(n_channels)
        self.out = nn.Linear(16, n_classes)
        self.told = nn.Embedding(n_categories, n_classes) if n_categories else None

    def forward(self, points, category=None):
        logits = self.out(self.encoder(points))
        if self.told is not None:
            logits = logits + self.told(category)[:, None]
        return logits


QUICK = dict(model=Tiny, max_epochs=1, batch_size=4, random_state=0)


@pytest.fixture(scope="module")
def fitted(halves):
    return PointSegmenter(**QUICK | {"max_epochs": 3}).fit(*halves)


def same_weights(first, second):
    ours, theirs = first.state_dict(), second.state_dict()
    return [torch.equal(ours[name], theirs[name]) for name in theirs if name in ours]


def test_learns_what_is_easy(halves):
    X, y, kinds = halves
    segmenter = PointSegmenter(
        Tiny, max_epochs=30, batch_size=4, learning_rate=0.05, augmentation=None, random_state=0
    )

    segmenter.fit(X[:10], y[:10], kinds[:10])

    assert segmenter.score(X[10:], y[10:], kinds[10:]) >= 0.9
    assert list(segmenter.part_classes_) == ["above", "below", "front", "rear"]
    assert segmenter.category_parts_ == {"ball": ["above", "below"], "disc": ["front", "rear"]}
    assert {"loss", "accuracy", "learning_rate", "seconds"} <= set(segmenter.history_.columns)
    assert segmenter.n_epochs_ == 30


def test_answers_are_restricted_to_the_category_unless_told_otherwise(halves, fitted):
    X, _, kinds = halves
    allowed = [fitted.category_parts_[kind] for kind in kinds]

    restricted, free = fitted.predict(X, kinds), fitted.predict(X, kinds, restrict=False)
    shares = fitted.predict_proba(X, kinds)

    assert all(np.isin(row, parts).all() for row, parts in zip(restricted, allowed, strict=True))
    assert not all(np.isin(row, parts).all() for row, parts in zip(free, allowed, strict=True))
    assert shares.shape == (16, 40, 4)
    np.testing.assert_allclose(shares.sum(axis=2), 1)
    assert (shares[0, :, 2:] == 0).all() and (shares[1, :, :2] == 0).all()
    assert np.array_equal(fitted.part_classes_[shares.argmax(axis=2)], restricted)


def test_category_changes_what_the_network_says(halves, fitted):
    X, _, kinds = halves
    other = np.where(kinds == "ball", "disc", "ball")

    first = fitted.predict_proba(X, kinds, restrict=False)
    second = fitted.predict_proba(X, other, restrict=False)

    assert np.abs(first - second).max() > 1e-3


def test_category_that_only_restricts(halves):
    X, y, kinds = halves

    segmenter = PointSegmenter(category_input="never", **QUICK).fit(X, y, kinds)

    assert segmenter.module_.told is None
    assert segmenter.predict(X).shape == (16, 40)
    assert np.isin(segmenter.predict(X, kinds)[0], ["above", "below"]).all()


def test_without_categories(halves):
    X, y, _ = halves

    segmenter = PointSegmenter(**QUICK).fit(X, y)

    assert segmenter.categories_ is None and segmenter.category_parts_ is None
    assert segmenter.score(X, y) == instance_miou(y, segmenter.predict(X))
    with pytest.raises(ValueError, match="fit has seen no categories"):
        segmenter.predict(X, ["ball"] * 16)


def test_score_is_the_published_one_and_a_part_never_learned_counts(halves, fitted):
    X, y, kinds = halves
    answer = fitted.predict(X, kinds)
    parts = fitted.category_parts_

    score = fitted.score(X, y, kinds)
    novel = y.astype("U6")
    novel[0, :5] = "inside"

    assert score == instance_miou(y, answer, kinds, category_parts=parts)
    more = parts | {"ball": ["above", "below", "inside"]}
    expected = instance_miou(novel, answer, kinds, category_parts=more)
    assert fitted.score(X, novel, kinds) == expected


def test_every_point_is_answered_where_the_network_sees_fewer(halves, fitted):
    X, _, kinds = halves
    few = clone(fitted).set_params(n_points=10).fit(*halves)

    shares = few.predict_proba(X, kinds)

    assert shares.shape == (16, 40, 4)
    seen = []
    few.module_.register_forward_hook(lambda m, arguments, out: seen.append((arguments[0], out)))
    logits, _ = few._score_points(X, kinds)
    for (points, said), cloud, rows in zip(
        [pair for batch in seen for pair in zip(*batch, strict=True)],
        few._normalized(X), logits, strict=True,
    ):
        assert points.shape == (10, 3)
        places = [int(np.flatnonzero((cloud == p.numpy()).all(axis=1))[0]) for p in points]
        np.testing.assert_array_equal(rows[places], said.numpy())
        assert (rows <= said.numpy().max(axis=0) + 1e-5).all()  # between those of neighbors


def test_clouds_of_unequal_size_come_back_as_they_came(halves):
    X, y, kinds = halves
    ragged = [cloud[: 40 - i] for i, cloud in enumerate(X)]
    labels = [row[: 40 - i] for i, row in enumerate(y)]

    segmenter = PointSegmenter(**QUICK | {"n_points": 32}).fit(ragged, labels, kinds)
    answer = segmenter.predict(ragged, kinds)

    assert [len(row) for row in answer] == [len(cloud) for cloud in ragged]
    assert segmenter.n_points_fit_ == 32
    assert segmenter.predict_proba(ragged, kinds)[3].shape == (37, 4)
    assert isinstance(segmenter.predict(list(X), kinds), list)
    assert 0 <= segmenter.score(ragged, labels, kinds) <= 1


def test_answers_follow_their_points(halves, fitted):
    X, _, kinds = halves
    order = np.random.default_rng(1).permutation(40)

    np.testing.assert_allclose(
        fitted.predict_proba(X[:, order], kinds),
        fitted.predict_proba(X, kinds)[:, order],
        atol=1e-6,
    )


def test_labels_travel_with_their_points(halves):
    X, _, _ = halves
    met = []

    class Watched(PointSegmenter):
        def _compute_loss(self, points, index, targets, generator):
            met.append(points.clone())
            return super()._compute_loss(points, index, targets, generator)

    Watched(
        Tiny, augmentation=("scale", "shuffle", "drop"), normalize=False, n_points=20,
        max_epochs=2, random_state=0,
    ).fit(X, (X[..., 2] > 0).astype(int))

    for points in met:
        assert points.shape[1:] == (20, 4)
        assert torch.equal(points[..., 2] > 0, points[..., 3] == 1)


def test_own_augmentation_gets_points_without_labels(halves):
    X, y, _ = halves
    channels = set()

    def double(points, generator):
        channels.add(points.shape[2])
        return 2 * points

    segmenter = PointSegmenter(augmentation=double, **QUICK).fit(X, y)

    assert channels == {3}
    assert segmenter.predict(X).shape == (16, 40)
    with pytest.raises(ValueError, match="must keep the number, the order"):
        PointSegmenter(augmentation=lambda p, g: p[:, :5], **QUICK).fit(X, y)


def test_equal_seed_gives_equal_numbers(halves, fitted):
    again = clone(fitted).fit(*halves)
    other = clone(fitted).set_params(random_state=1).fit(*halves)

    assert all(same_weights(fitted.module_, again.module_))
    assert not all(same_weights(fitted.module_, other.module_))


def test_published_loop_steps_twice_with_one_gradient(halves):
    X, y, kinds = halves
    settings = QUICK | dict(
        batch_size=16, augmentation=None, schedule="constant", max_norm=0.1, weight_decay=0.0
    )
    start = PointSegmenter(**settings | {"max_epochs": 0}).fit(X, y, kinds)
    published = PointSegmenter(optimizer_steps="published", **settings).fit(X, y, kinds)

    module = start.module_.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, weight_decay=0.0)
    logits = module(torch.from_numpy(start._normalized(X)), torch.tensor([0, 1] * 8))
    codes = torch.from_numpy(np.searchsorted(start.part_classes_, y))
    nn.functional.cross_entropy(logits.flatten(0, 1), codes.flatten()).backward()
    optimizer.step()
    nn.utils.clip_grad_norm_(module.parameters(), 0.1)
    optimizer.step()

    for name, value in published.module_.named_parameters():
        if name == "encoder.layer.bias":  # which the norm takes out again: its gradient is noise
            continue
        torch.testing.assert_close(value, module.get_parameter(name), atol=1e-6, rtol=1e-4)


def test_what_lies_behind_the_trunk_learns_faster(halves):
    X, y, kinds = halves

    segmenter = PointSegmenter(head_factor=10, schedule="constant", **QUICK).fit(X, y, kinds)

    rates = {
        id(parameter): group["lr"]
        for group in segmenter._run.optimizer.param_groups
        for parameter in group["params"]
    }
    for name, parameter in segmenter.module_.named_parameters():
        expected = 1e-3 if name.startswith("encoder.") else 1e-2
        assert rates[id(parameter)] == pytest.approx(expected), name


def test_interrupted_training_goes_on_to_the_last_bit(halves, tmp_path):
    class Stop(Exception):
        pass

    def until(segmenter, n_epochs):
        compute = segmenter._compute_loss

        def compute_or_stop(*arguments):
            if segmenter._run.epoch >= n_epochs:
                raise Stop
            return compute(*arguments)

        segmenter._compute_loss = compute_or_stop
        return segmenter

    settings = QUICK | {"max_epochs": 6, "optimizer_steps": "published"}
    quiet = PointSegmenter(**settings).fit(*halves)
    path = tmp_path / "training.npz"
    with pytest.raises(Stop):
        until(PointSegmenter(checkpoint=path, **settings), 3).fit(*halves)

    resumed = PointSegmenter(checkpoint=path, **settings).fit(*halves)

    assert all(same_weights(quiet.module_, resumed.module_))
    X, y, kinds = halves
    with pytest.raises(CheckpointError, match="of another training"):
        PointSegmenter(checkpoint=path, **settings).fit(X, y[:, ::-1], kinds)


def test_one_cloud_is_enough(halves):
    X, y, _ = halves

    segmenter = PointSegmenter(**QUICK).fit(X[:1], y[:1])

    assert segmenter.predict(X[:1]).shape == (1, 40)
