"""Starting a classifier from any network that says how to make another one like it."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.svm import SVC
from torch import nn

from pointinteract.classification import PointClassifier
from pointinteract.exceptions import CheckpointError
from pointinteract.models import _registry, create_model
from pointinteract.persistence import load, save
from pointinteract.pretraining import JigsawPretrainer

QUICK = dict(max_epochs=1, batch_size=8, random_state=0)
BACKBONES = ["pointnet", "pointnet_basic", "dgcnn"]


@pytest.fixture(scope="module")
def easy():
    points = np.random.default_rng(0).normal(size=(16, 24, 3))
    points[::2, :, 2] *= 0.05
    return points.astype("f4"), np.array(["flat", "ball"] * 8)


@pytest.fixture(scope="module", params=BACKBONES)
def pretrained(request, easy):
    options = {"n_neighbors": 5} if request.param == "dgcnn" else None
    pre = JigsawPretrainer(request.param, backbone_options=options, hidden=(8,), **QUICK)
    return pre.fit(easy[0])


def body(network):
    """Weights apart from the head, and apart from the statistics that move in training."""
    return {
        name: value.clone() for name, value in network.state_dict().items()
        if not name.startswith("head.") and "running" not in name and "num_batches" not in name
    }


class Registered(nn.Module):
    """A network from elsewhere that keeps the contract."""

    builder = "from_elsewhere"
    num_features = 6

    def __init__(self, n_channels, n_classes, slope):
        super().__init__()
        self.config = {"n_channels": n_channels, "slope": slope}
        self.slope = slope
        self.points = nn.Linear(n_channels, 6)
        self.reset_classifier(n_classes)

    def forward_features(self, points):
        return nn.functional.leaky_relu(self.points(points), self.slope)

    def forward_pool(self, points):
        return self.forward_features(points).amax(1)

    def reset_classifier(self, n_classes):
        self.head = nn.Linear(6, n_classes) if n_classes else nn.Identity()

    def forward(self, points):
        return self.head(self.forward_pool(points))


@pytest.fixture
def from_elsewhere(monkeypatch):
    monkeypatch.setattr(_registry, "_MODELS", dict(_registry._MODELS))

    def from_elsewhere(n_channels=3, n_classes=40, slope=0.3):
        return Registered(n_channels, n_classes, slope)

    return _registry.register_model(from_elsewhere)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_network_says_what_makes_another_one_like_it(name):
    numbers = {"dropout": 0.125} | ({"n_neighbors": 7} if name == "dgcnn" else {})
    network = create_model(name, n_channels=5, n_classes=3, **numbers)

    twin = type(network)(n_classes=3, **network.config)

    assert {"n_channels": 5, **numbers}.items() <= network.config.items()
    assert twin.config == network.config
    twin.load_state_dict(network.state_dict())
    points = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(twin.eval()(points), network.eval()(points))


def test_starts_from_the_weights_of_the_pretrainer(pretrained, easy):
    clf = PointClassifier(pretrained=FrozenEstimator(pretrained), learning_rate=1e-12,
                          weight_decay=0.0, **QUICK).fit(*easy)

    start = body(pretrained.module_.encoder)
    assert type(clf.module_) is type(pretrained.module_.encoder)
    assert clf.module_.config == pretrained.module_.encoder.config
    assert body(clf.module_).keys() == start.keys()
    for name, value in body(clf.module_).items():
        torch.testing.assert_close(value, start[name], atol=1e-6, rtol=1e-5)
    assert clf.predict_logits(easy[0]).shape == (16, 2)


@pytest.mark.parametrize("protocol, n_layers", [("linear", 1), ("mlp3", 3)])
def test_frozen_protocols_train_the_head_alone(pretrained, easy, protocol, n_layers):
    clf = PointClassifier(pretrained=pretrained, protocol=protocol, **QUICK).fit(*easy)

    start = body(pretrained.module_.encoder)
    assert all(torch.equal(value, start[name]) for name, value in body(clf.module_).items())
    layers = [m for m in clf.module_.head.modules() if isinstance(m, nn.Linear)]
    assert len(layers) == n_layers and layers[-1].out_features == 2


@pytest.mark.parametrize("protocol", ["full", "linear", "mlp3"])
def test_classifiers_from_a_pretrainer_can_be_copied_and_saved(
    pretrained, easy, protocol, tmp_path
):
    clf = PointClassifier(pretrained=pretrained, protocol=protocol, **QUICK).fit(*easy)
    expected = clf.predict_logits(easy[0])

    read = load(save(clf, tmp_path / "classifier.npz"))

    assert np.array_equal(read.predict_logits(easy[0]), expected)
    assert np.array_equal(read.pretrained.transform(easy[0]), pretrained.transform(easy[0]))
    assert np.array_equal(pickle.loads(pickle.dumps(clf)).predict_logits(easy[0]), expected)
    assert read.partial_fit(*easy).n_epochs_ == 2


def test_a_file_of_a_pretrainer_is_as_good_as_the_pretrainer(pretrained, easy, tmp_path):
    path = save(pretrained, tmp_path / "pretrained.npz")

    from_file = PointClassifier(pretrained=path, **QUICK).fit(*easy)

    from_memory = PointClassifier(pretrained=pretrained, **QUICK).fit(*easy)
    assert np.array_equal(from_file.predict_logits(easy[0]), from_memory.predict_logits(easy[0]))


def test_an_unfitted_pretrainer_is_fitted_first(pretrained, easy):
    loose = PointClassifier(pretrained=clone(pretrained), **QUICK).fit(*easy)

    kept = PointClassifier(pretrained=pretrained, **QUICK).fit(*easy)
    assert np.array_equal(loose.predict_logits(easy[0]), kept.predict_logits(easy[0]))


def test_starts_from_a_module_and_from_another_classifier(easy):
    X, y = easy
    module = create_model("dgcnn", n_classes=7, n_neighbors=4)
    first = PointClassifier(pretrained=module, learning_rate=1e-12, **QUICK).fit(X, y)

    second = PointClassifier(pretrained=first, learning_rate=1e-12, **QUICK).fit(X, y)

    for clf in (first, second):
        assert clf.module_.n_neighbors == 4 and clf.module_.head.out.out_features == 2
        for name, value in body(clf.module_).items():
            torch.testing.assert_close(value, module.state_dict()[name], atol=1e-5, rtol=1e-5)


def test_other_channels_than_those_of_pretraining_are_refused(pretrained, easy):
    X, y = easy

    with pytest.raises(ValueError, match="reads 3 channels a point, and X has 6"):
        PointClassifier(pretrained=pretrained, **QUICK).fit(np.concatenate([X, X], axis=2), y)


@pytest.mark.parametrize("protocol", ["full", "linear"])
def test_a_registered_network_from_elsewhere_is_made_by_its_builder(
    from_elsewhere, easy, protocol, tmp_path
):
    pre = JigsawPretrainer("from_elsewhere", backbone_options={"slope": 0.5}, **QUICK)

    clf = PointClassifier(pretrained=pre.fit(easy[0]), protocol=protocol, **QUICK).fit(*easy)

    assert clf.module_.slope == 0.5
    read = load(save(clf, tmp_path / "classifier.npz"))
    assert np.array_equal(read.predict_logits(easy[0]), clf.predict_logits(easy[0]))


def test_a_network_that_cannot_be_made_again_is_refused(from_elsewhere, easy):
    for unnamed in (nn.Linear(3, 2), Registered(3, 2, 0.1)):
        if isinstance(unnamed, Registered):
            unnamed.builder = "nobody"
        with pytest.raises(CheckpointError, match=f"`builder` the name.*{type(unnamed).__name__}"):
            PointClassifier(pretrained=unnamed, **QUICK).fit(*easy)


class Headless(Registered):
    """Keeps its last layer under another name."""

    def reset_classifier(self, n_classes):
        self.last = nn.Linear(6, n_classes)

    def forward(self, points):
        return self.last(self.forward_pool(points))


def test_frozen_protocols_need_a_head_to_replace(easy):
    module = Headless(3, 2, 0.1)

    assert PointClassifier(module, **QUICK).fit(*easy).predict(easy[0]).shape == (16,)
    with pytest.raises(TypeError, match='Headless lacks; use protocol="full"'):
        PointClassifier(module, protocol="linear", **QUICK).fit(*easy)


@pytest.mark.parametrize("stranger", [SVC(), PointClassifier()])
def test_what_needs_labels_is_not_fitted_on_the_way(stranger, easy):
    with pytest.raises(TypeError, match="cannot be without labels of its own; fit it first"):
        PointClassifier(pretrained=stranger, **QUICK).fit(*easy)
