"""What a segmenter refuses, and in which words."""

import numpy as np
import pytest
from torch import nn

from pointinteract.segmentation import PointSegmenter

X = np.random.default_rng(0).normal(size=(4, 12, 3)).astype("f4")
Y = (X[..., 0] > 0).astype(int)
KINDS = np.array([0, 1, 0, 1])


class PerPoint(nn.Module):
    def __init__(self, n_channels, n_classes, n_categories):
        super().__init__()
        self.out = nn.Linear(n_channels, n_classes)

    def forward(self, points, category=None):
        return self.out(points)


class PerCloud(PerPoint):
    def forward(self, points, category=None):
        return self.out(points).amax(1)


def make(**parameters):
    return PointSegmenter(**{"model": PerPoint, "max_epochs": 1, "random_state": 0} | parameters)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        ("seat", "got str"),
        (Y[:3], "got 3 rows for 4 clouds"),
        (Y[:, :5], "cloud 0 has 12 points, 5 labels"),
        (KINDS, "got one label for cloud 0"),
        (Y[..., None, None], r"labels of shape \(12, 1, 1\) for cloud 0"),
        (Y + 0.5, "no whole numbers"),
        (Y * np.nan, "no whole numbers"),
        ([*Y[:3], Y[3].astype(str)], "one kind in all clouds; got both"),
        (np.zeros_like(Y), r"at least 2 classes, which are parts; got one class: \[0\]"),
        (np.where(Y, "a", None), "not all of them strings"),
        (Y.astype(complex), "complex"),
    ],
)
def test_labels_that_cannot_be_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        make().fit(X, y)


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        (KINDS[:2], r"one category a cloud, \(4,\); got an array of shape \(2,\)"),
        (KINDS[:, None], r"shape \(4, 1\)"),
        (KINDS + 0.5, "integers or strings; got float64"),
        (KINDS.astype(object), "integers or strings; got object"),
        (np.array(["a", np.nan, "a", "b"], dtype=object), "integers or strings; got object"),
    ],
)
def test_categories_that_cannot_be_are_refused(categories, message):
    with pytest.raises(ValueError, match=message):
        make().fit(X, Y, categories)


def test_categories_in_queries_must_be_known():
    segmenter = make().fit(X, Y, KINDS)

    with pytest.raises(ValueError, match=r"categories holds \[7\], which fit has not seen"):
        segmenter.predict(X, KINDS + 7 * (KINDS == 1) - (KINDS == 1))
    with pytest.raises(ValueError, match="give categories, some of \\[0, 1\\]"):
        segmenter.predict(X)
    with pytest.raises(ValueError, match='"always" needs categories'):
        make(category_input="always").fit(X, Y)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"model": "recon_nono"}, ValueError, "Did you mean 'recon_nano'"),
        ({"model": 3}, TypeError, "list_segmentation_models"),
        ({"model": PerPoint(3, 2, None)}, TypeError, "torch.nn.Module class"),
        ({"model_options": [1]}, TypeError, "must be a dict"),
        ({"model_options": {"n_classes": 3}}, ValueError, "must not hold n_classes"),
        ({"category_input": True}, ValueError, "category_input must be one of 'auto'"),
        ({"optimizer_steps": 2}, ValueError, "optimizer_steps must be one of 'one'"),
        ({"frozen": "yes"}, TypeError, "frozen must be True or False"),
        ({"frozen": True}, TypeError, "needs a network with a trunk"),
        ({"head_factor": 0}, ValueError, "head_factor"),
        ({"max_norm": -1}, ValueError, "max_norm"),
        ({"augmentation": "turn"}, ValueError, "augmentation must be None"),
        ({"model": PerCloud}, ValueError, r"must answer logits of shape \(4, 12, 2\)"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(parameters, error, message):
    with pytest.raises(error, match=message):
        make(**parameters).fit(X, Y)


def test_truth_must_name_parts_as_fit_has_seen_them():
    segmenter = make().fit(X, Y, KINDS)

    with pytest.raises(ValueError, match="y must name parts as fit has seen them, 0 for one; got"):
        segmenter.score(X, Y.astype(str), KINDS)


def test_failed_fit_leaves_the_one_before():
    segmenter = make().fit(X, Y)
    before = segmenter.predict(X)

    with pytest.raises(ValueError, match="at least 2 classes"):
        segmenter.fit(X, np.zeros_like(Y))

    assert np.array_equal(segmenter.predict(X), before)


def test_whole_numbers_as_floats_and_columns_are_labels():
    segmenter = make().fit(X, Y[..., None].astype(float))

    assert segmenter.part_classes_.tolist() == [0, 1]
    assert segmenter.part_classes_.dtype == np.int64


def test_transform_needs_a_trunk():
    with pytest.raises(TypeError, match="forward_pool"):
        make().fit(X, Y).transform(X)
