"""What all estimators on clouds share: loading without a GPU, and fits that fail."""

import pickle

import numpy as np
import pytest
import torch

from pointinteract import load, save
from pointinteract.base import pick_device
from pointinteract.classification import PointClassifier
from pointinteract.pretraining import ReConPretrainer

GPU_WANTED = ["cuda", "cuda:7"]


def fitted_on_a_gpu(clouds, labels, device):
    """An estimator that looks as if it had been fitted on a GPU."""
    clf = PointClassifier("pointnet_basic", max_epochs=1, device="cpu", random_state=0)
    clf.fit(clouds, labels)
    clf.device, clf.device_ = device, "cuda:0"
    return clf


@pytest.fixture(params=["no GPU", "one GPU"])
def gpus(request, monkeypatch):
    n_gpus = {"no GPU": 0, "one GPU": 1}[request.param]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    return n_gpus


@pytest.mark.parametrize("device", GPU_WANTED)
def test_what_was_fitted_on_a_gpu_loads_without_it(clouds, labels, gpus, device):
    if gpus and device == "cuda":
        pytest.skip("the one GPU would really be used")
    clf = fitted_on_a_gpu(clouds, labels, device)
    state = pickle.dumps(clf)
    clf.device_ = "cpu"
    reference = clf.predict_logits(clouds)

    loaded = pickle.loads(state)

    assert loaded.device == device and loaded.device_ == "cpu"
    np.testing.assert_array_equal(loaded.predict_logits(clouds), reference)


def test_a_saved_file_from_a_gpu_loads_without_it_and_can_go_on(
    clouds, labels, monkeypatch, tmp_path
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    clf = fitted_on_a_gpu(clouds, labels, "cuda")
    path = save(clf, tmp_path / "classifier.npz")

    loaded = load(path).set_params(device="cpu")

    assert loaded.device_ == "cpu"
    assert loaded.partial_fit(clouds, labels).n_epochs_ == 2


def test_fitting_anew_without_the_gpu_asked_for_is_refused(clouds, labels, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    clf = pickle.loads(pickle.dumps(fitted_on_a_gpu(clouds, labels, "cuda")))

    with pytest.raises(ValueError, match="torch sees no GPU; use \"auto\""):
        clf.fit(clouds, labels)

    assert clf.predict(clouds).shape == (8,)


def test_auto_takes_what_is_there(gpus):
    assert pick_device("auto").type == ("cuda" if gpus else "cpu")


class FailsLater:
    """An augmentation that works for some batches."""

    def __init__(self, n_batches, error):
        self.left, self.error = n_batches, error

    def __call__(self, points, generator):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return points


@pytest.mark.parametrize("estimator", [
    PointClassifier("pointnet_basic", max_epochs=2, batch_size=4, random_state=0),
    ReConPretrainer(n_groups=4, group_size=4, max_epochs=2, batch_size=4, random_state=0),
], ids=["classifier", "pretrainer"])
@pytest.mark.parametrize("refit", [False, True], ids=["first", "again"])
def test_a_fit_that_fails_in_the_middle_changes_nothing(clouds, labels, estimator, refit):
    estimator = pickle.loads(pickle.dumps(estimator))
    if refit:
        estimator.fit(clouds, labels)
        reference = estimator.transform(clouds)
    before = dict(vars(estimator))
    estimator.set_params(augmentation=FailsLater(3, ValueError("no luck")))

    with pytest.raises(ValueError, match="no luck"):
        estimator.fit(clouds[:, ::2], labels)

    estimator.set_params(augmentation=before["augmentation"])
    assert vars(estimator).keys() == before.keys()
    assert all(vars(estimator)[name] is value for name, value in before.items())
    if refit:
        np.testing.assert_array_equal(estimator.transform(clouds), reference)


def test_an_interrupted_fit_keeps_the_epochs_it_finished(clouds, labels):
    clf = PointClassifier("pointnet_basic", max_epochs=5, batch_size=4, random_state=0)
    clf.set_params(augmentation=FailsLater(5, KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        clf.fit(clouds, labels)

    assert clf.n_epochs_ == 2 and len(clf.history_) == 2
    assert clf.predict(clouds).shape == (8,)


def test_an_interruption_before_training_changes_nothing(clouds, labels):
    def teacher(pictures):
        raise KeyboardInterrupt

    pre = ReConPretrainer(n_groups=4, group_size=4, max_epochs=1, random_state=0).fit(clouds)
    reference = pre.transform(clouds)

    with pytest.raises(KeyboardInterrupt):
        pre.set_params(text_teacher=teacher).fit(clouds, texts=["a thing"] * 8)

    np.testing.assert_array_equal(pre.transform(clouds), reference)
