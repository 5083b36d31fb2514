"""The baselines of ReCon's paper, as options of its pretrainer."""

import numpy as np
import pytest
from sklearn.base import clone

from pointinteract.classification import PointClassifier
from pointinteract.persistence import load, save
from pointinteract.pretraining import ReConPretrainer

BASELINES = ("multitask", "two_tower")
SMALL = dict(n_groups=8, group_size=8, max_epochs=2, batch_size=4, random_state=0)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(8, 64, 3)).astype("f4")


@pytest.fixture(scope="module")
def teacher():
    return np.random.default_rng(1).normal(size=(8, 6)).astype("f4")


@pytest.fixture(scope="module", params=BASELINES)
def fitted(request, X, teacher):
    pre = ReConPretrainer(architecture=request.param, image_teacher=teacher, **SMALL)
    return pre.fit(X)


def test_a_baseline_learns_what_recon_learns(X, teacher):
    for architecture in BASELINES:
        pre = ReConPretrainer(architecture=architecture, image_teacher=teacher,
                              **SMALL | {"max_epochs": 7}).fit(X)

        assert {"reconstruction", "image"} <= set(pre.history_.columns)
        # Features drawn at random leave little to be learned but each by heart.
        for term, share in (("reconstruction", 0.8), ("image", 0.98)):
            assert pre.history_[term].iloc[-1] < share * pre.history_[term].iloc[0], architecture


def test_a_baseline_answers_like_recon(fitted, X):
    assert fitted.transform(X).shape == (8, 384)
    assert fitted.reconstruct(X[:1]).rebuilt[0].shape == (4 * 8, 3)
    again = clone(fitted).fit(X).transform(X)
    assert np.array_equal(again, fitted.transform(X))
    recon = clone(fitted).set_params(architecture="recon").fit(X)
    assert not np.array_equal(recon.transform(X), again)


def test_a_baseline_can_be_kept_and_gone_on_with(fitted, X, tmp_path):
    kept = load(save(fitted, tmp_path / "baseline.npz"))

    assert np.array_equal(kept.transform(X), fitted.transform(X))
    assert type(kept.module_) is type(fitted.module_)


@pytest.mark.parametrize("protocol", ["full", "linear"])
def test_a_classifier_starts_from_a_baseline(fitted, X, protocol):
    classifier = PointClassifier(
        pretrained=fitted, protocol=protocol, max_epochs=1, batch_size=4, random_state=0
    )

    classifier.fit(X, np.arange(8) % 2)

    assert classifier.predict(X).shape == (8,)
    assert type(classifier.module_) is type(fitted.module_.encoder)


def test_what_an_architecture_has_no_place_for_is_refused(X):
    with pytest.raises(ValueError, match="self_contrast=True needs a class query"):
        ReConPretrainer(architecture="two_tower", self_contrast=True, **SMALL).fit(X)
    with pytest.raises(ValueError, match="architecture must be one of 'recon', 'multitask'"):
        ReConPretrainer(architecture="three_tower", **SMALL).fit(X)
    pre = ReConPretrainer(architecture="multitask", self_contrast=True, **SMALL).fit(X)
    assert "contrast" in pre.history_.columns
