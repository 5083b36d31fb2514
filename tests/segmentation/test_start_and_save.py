"""Where a segmenter starts from, and how it is kept."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from pointinteract import load, save
from pointinteract.exceptions import CheckpointError
from pointinteract.models import list_segmentation_models
from pointinteract.pretraining import ReConPretrainer
from pointinteract.segmentation import PointSegmenter

NANO = dict(model_options={"n_groups": 8}, max_epochs=1, batch_size=4, random_state=0)


def same_weights(first, second):
    ours, theirs = first.state_dict(), second.state_dict()
    return [torch.equal(ours[name], theirs[name]) for name in theirs if name in ours]


def test_starts_from_a_pretrainer(halves, pretrainer):
    X, y, kinds = halves

    segmenter = PointSegmenter(
        pretrained=FrozenEstimator(pretrainer), **NANO | {"max_epochs": 0}
    ).fit(X, y, kinds)

    encoder = pretrainer.module_.encoder
    assert segmenter.module_.encoder.n_groups == 8
    checked = same_weights(segmenter.module_.encoder, encoder)
    assert all(checked) and len(checked) > 50
    assert segmenter.transform(X).shape == (16, segmenter.module_.encoder.num_features)


def test_starts_from_a_file_and_into_a_named_network(halves, pretrainer, tmp_path):
    X, y, _ = halves
    path = save(pretrainer, tmp_path / "recon.npz")

    segmenter = PointSegmenter(
        "recon_nano", pretrained=path, **NANO | {"max_epochs": 0}
    ).fit(X, y)

    assert all(same_weights(segmenter.module_.encoder, pretrainer.module_.encoder))
    with pytest.raises(CheckpointError, match="does not fit the trunk of model='recon_base'"):
        PointSegmenter("recon_base", pretrained=path, max_epochs=0).fit(X, y)


def test_frozen_trunk_stays_as_it_came(halves, pretrainer):
    X, y, kinds = (each[:4] for each in halves)

    segmenter = PointSegmenter(pretrained=pretrainer, frozen=True, **NANO).fit(X, y, kinds)
    loose = PointSegmenter(pretrained=pretrainer, **NANO).fit(X, y, kinds)

    encoder = pretrainer.module_.encoder
    assert all(same_weights(segmenter.module_.encoder, encoder))
    assert not any(
        torch.equal(value, loose.module_.state_dict()[name])
        for name, value in segmenter.module_.state_dict().items()
        if name.endswith("weight")
    )


def test_saved_segmenter_gives_equal_bits(halves, pretrainer, tmp_path):
    X, y, kinds = (each[:4] for each in halves)
    segmenter = PointSegmenter(pretrained=pretrainer, n_points=20, **NANO).fit(X, y, kinds)

    back = load(save(segmenter, tmp_path / "segmenter.npz"))
    copy = pickle.loads(pickle.dumps(segmenter))

    expected = segmenter.predict_proba(X, kinds)
    for other in (back, copy):
        assert np.array_equal(other.predict_proba(X, kinds), expected)
        assert other.category_parts_ == segmenter.category_parts_
    assert back.score(X, y, kinds) == segmenter.score(X, y, kinds)


def test_pretrainer_that_is_not_fitted_learns_from_the_same_clouds(halves):
    X, y, kinds = (each[:4] for each in halves)
    blank = ReConPretrainer(n_groups=8, group_size=8, max_epochs=1, random_state=0)

    segmenter = PointSegmenter(pretrained=blank, **NANO | {"max_epochs": 0}).fit(X, y, kinds)

    fitted = clone(blank).fit(X)
    assert not hasattr(blank, "module_")
    assert all(same_weights(segmenter.module_.encoder, fitted.module_.encoder))


@pytest.mark.slow
@pytest.mark.parametrize("name", list_segmentation_models())
def test_every_network_can_be_trained_and_saved(name, halves, tmp_path):
    X, y, kinds = (each[:4] for each in halves)

    segmenter = PointSegmenter(name, max_epochs=1, batch_size=2, random_state=0)
    segmenter.fit(X, y, kinds)

    assert np.isfinite(segmenter.history_.loss).all()
    expected = segmenter.predict_proba(X, kinds)
    found = load(save(segmenter, tmp_path / "segmenter.npz")).predict_proba(X, kinds)
    assert np.array_equal(found, expected)
