import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from pointinteract.classification import PointClassifier
from pointinteract.pretraining import (
    JigsawPretrainer,
    OcCoPretrainer,
    ReConPretrainer,
    pretraining_stages,
)

COMMON = dict(max_epochs=5, batch_size=4, random_state=0)
PRETRAINERS = {
    "recon": ReConPretrainer(n_groups=4, group_size=4, image_teacher="depth_descriptor", **COMMON),
    "jigsaw": JigsawPretrainer("pointnet", hidden=(8,), dropout=0.5, augmentation="jitter",
                               **COMMON),
    "jigsaw_dgcnn": JigsawPretrainer("dgcnn", hidden=(8,), schedule="cosine_epoch", **COMMON),
    "occo": OcCoPretrainer("pointnet_basic", n_coarse=8, decoder_width=8, **COMMON),
}


@pytest.fixture(scope="module", params=PRETRAINERS)
def unfitted(request):
    return PRETRAINERS[request.param]


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(8, 20, 3)).astype("f4")


@pytest.fixture(scope="module")
def whole(unfitted, X):
    return clone(unfitted).fit(X)


def same_weights(one, other):
    ours, theirs = one.module_.state_dict(), other.module_.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_epoch_by_epoch_is_the_same_as_at_once(unfitted, whole, X):
    steps = clone(unfitted)

    for _ in range(5):
        steps.partial_fit(X)

    assert same_weights(steps, whole)
    columns = [name for name in whole.history_ if name != "seconds"]
    assert steps.history_[columns].equals(whole.history_[columns])


def test_no_epoch_gives_the_start(unfitted, whole, X):
    start = clone(unfitted).set_params(max_epochs=0).fit(X)

    assert start.n_epochs_ == 0 and len(start.history_) == 0
    assert not same_weights(start, whole)
    for _ in range(5):  # and the start it is: the training goes on from there as it would have
        start.set_params(max_epochs=5).partial_fit(X)
    assert same_weights(start, whole)


def test_stages_are_what_the_training_passes_through(unfitted, whole, X):
    stages = pretraining_stages(unfitted, X, fractions=(1.0, 0, 0.4))

    assert list(stages) == [0.0, 0.4, 1.0]
    assert [stage.n_epochs_ for stage in stages.values()] == [0, 2, 5]
    assert same_weights(stages[1.0], whole)
    assert same_weights(stages[0.0], clone(unfitted).set_params(max_epochs=0).fit(X))
    assert same_weights(stages[0.4], clone(unfitted).partial_fit(X).partial_fit(X))
    assert all(stage.max_epochs == 5 for stage in stages.values())
    assert not hasattr(unfitted, "module_")


def test_a_stage_is_a_start_for_a_classifier(unfitted, X):
    stages = pretraining_stages(unfitted, X, fractions=(0, 0.2))

    for stage in stages.values():
        clf = PointClassifier(pretrained=stage, max_epochs=1).fit(X, np.arange(8) % 2)
        assert clf.predict(X).shape == (8,)


def test_further_inputs_reach_the_fit(X):
    pre = ReConPretrainer(n_groups=4, group_size=4, text_teacher="hashed_ngrams", **COMMON)
    texts = {"texts": ["a chair", "a table"] * 4}

    stages = pretraining_stages(pre, X, fractions=(1.0,), fit_params=texts)

    assert same_weights(stages[1.0], clone(pre).fit(X, **texts))


@pytest.mark.parametrize("pretrainer, fractions, error, message", [
    (PRETRAINERS["occo"], (), ValueError, "at least one share"),
    (PRETRAINERS["occo"], (0.5, 1.5), ValueError, r"fractions must be in \[0.0, 1.0\], got 1.5"),
    (StandardScaler(), (0.5,), TypeError, "partial_fit and max_epochs.*got StandardScaler"),
])
def test_wrong_shares_and_other_estimators_are_refused(pretrainer, fractions, error, message, X):
    with pytest.raises(error, match=message):
        pretraining_stages(pretrainer, X, fractions=fractions)
