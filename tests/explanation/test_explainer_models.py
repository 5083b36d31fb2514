"""Estimators run through their network, random parts named, precision, many regions, memory."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from pointinteract.classification import PointClassifier
from pointinteract.exceptions import PointInteractWarning
from pointinteract.explanation import InteractionExplainer, SetPool
from pointinteract.explanation._batches import BatchSize, is_out_of_memory
from pointinteract.explanation._models import PreparedModel, as_cloud_model
from pointinteract.explanation._probes import random_parts


class Net(nn.Module):
    def __init__(self, n_classes=3, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.points = nn.Sequential(nn.Linear(3, 16), nn.ReLU())
            self.head = nn.Linear(16, n_classes)

    def forward(self, points):
        return self.head(self.points(points).amax(dim=1))


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(1)
    X = [rng.normal(size=(n, 3)).astype(np.float32) for n in (40, 64, 50, 64, 64, 33)]
    y = ["flat", "ball"] * 3
    return PointClassifier("pointnet_basic", max_epochs=1, random_state=0).fit(X, y), X, y


def test_classifier_is_run_through_its_network_with_the_same_numbers(fitted):
    classifier, X, y = fitted
    assert classifier.n_points_fit_ == 64

    explainer = InteractionExplainer(3)
    explanation = explainer.explain(classifier, X[:3], y[:3])

    # The same, asked cloud by cloud as any estimator would be.
    for number, points in enumerate(explanation.points):
        assert len(points) == 64
        logits = classifier.predict_logits(X[number : number + 1])[0].astype(float)
        column = explanation.targets[number]
        expected = logits[column] - logits[1 - column]
        assert explanation.values[number, -1] == pytest.approx(expected, abs=1e-4)
    assert explanation.meta["model"] == "PointClassifier"
    assert explainer.engine_ == "set_pool"


def test_pipeline_before_a_classifier_is_applied_once(fitted):
    classifier, X, _ = fitted

    doubled = make_pipeline(FunctionTransformer(lambda X: [2 * cloud for cloud in X]), classifier)
    explanation = InteractionExplainer(3).explain(doubled, X[:2])

    # The classifier scales clouds to unit size, so that doubling changes nothing else.
    reference = InteractionExplainer(3).explain(classifier, X[:2])
    np.testing.assert_allclose(explanation.values, reference.values, atol=1e-4)


def test_estimator_that_does_more_than_its_network_is_asked_itself(clouds):
    class Tempered:
        classes_ = np.array([0, 1, 2])
        module_ = Net()

        def prepare_clouds(self, X):
            return X

        def predict_logits(self, X, *, prepared=False):
            with torch.no_grad():
                return self.module_(torch.from_numpy(X)).numpy() / 10

        predict_proba = None

    explanation = InteractionExplainer(3).explain(Tempered(), clouds[:2], [0, 1])

    module = as_cloud_model(Tempered())
    assert isinstance(module, PreparedModel)
    z = Tempered().predict_logits(clouds[:1])[0].astype(float)
    expected = z[0] - np.logaddexp(z[1], z[2])
    assert explanation.values[0, -1] == pytest.approx(expected, abs=1e-5)


def test_clouds_of_a_classifier_are_moved_by_device_only_as_a_copy(fitted):
    classifier, X, _ = fitted

    InteractionExplainer(2, device="cpu").explain(classifier, X[:1])

    assert as_cloud_model(classifier).module is classifier.module_
    # Where it is already, nothing has to be copied.
    assert as_cloud_model(classifier, device="cpu").module is classifier.module_
    moved = as_cloud_model(classifier, device="meta")
    assert moved.module is not classifier.module_ and moved.device.type == "meta"


def test_structure_of_a_network_does_not_describe_a_copy_elsewhere():
    network = Net()
    structure = SetPool(network.points, network.head)

    with pytest.raises(ValueError, match="on cpu, and device='meta' works on a copy"):
        as_cloud_model(network, device="meta", structure=structure)


class Stochastic(nn.Module):
    """Dropout that nobody can switch off, in one of its parts."""

    def forward(self, rows):
        return nn.functional.dropout(rows, 0.5, training=True)


def test_random_part_is_named(clouds):
    network = Net()
    network.head = nn.Sequential(nn.Linear(16, 8), Stochastic(), nn.Linear(8, 3))

    with pytest.warns(PointInteractWarning, match=r"Random in it: head\.1 \(Stochastic\);"):
        InteractionExplainer(3).explain(network, clouds[:1])


def test_random_step_between_parts_is_named_by_what_holds_it(clouds):
    class Starting(Net):
        def forward(self, points):
            return super().forward(points[:, torch.randperm(points.shape[1])[:5]])

    network = Starting().eval()

    assert random_parts(network, torch.from_numpy(clouds[:2])) == ("forward (Starting)",)
    assert random_parts(Net().eval(), torch.from_numpy(clouds[:2])) == ()


def test_part_that_stays_in_training_mode_is_named(clouds):
    class Stubborn(nn.Dropout):
        def train(self, mode=True):
            return super().train(True)

    network = Net()
    network.head = nn.Sequential(Stubborn(0.5), nn.Linear(16, 3))

    with pytest.warns(PointInteractWarning, match=r"after eval\(\): head\.0 \(Stubborn\)"):
        InteractionExplainer(3).explain(network, clouds[:1])


def test_lower_precision_comes_with_its_noise(clouds):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = InteractionExplainer(4, precision="bfloat16").explain(Net(), clouds[:3])

    exact = InteractionExplainer(4).explain(Net(), clouds[:3])
    difference = np.abs(found.interactions - exact.interactions)[:2]
    noise = np.array(found.meta["noise_by_order"])
    assert noise.shape == (4,) and (noise > 0).all()
    assert noise[3] == pytest.approx(difference[:, 15].mean())
    np.testing.assert_array_equal(found.noise_by_order, noise)
    assert exact.noise_by_order is None and "noise_by_order" not in exact.meta


def test_precision_that_the_device_lacks_is_refused(clouds):
    with pytest.raises(ValueError, match="CUDA devices only, and the model is on cpu"):
        InteractionExplainer(3, precision="tf32").explain(Net(), clouds)
    with pytest.raises(ValueError, match="structure and precision are for torch modules"):
        InteractionExplainer(3, precision="bfloat16").explain(lambda X: X.max(axis=1), clouds)


def test_budget_decides_between_all_and_chosen_coalitions(clouds):
    few = InteractionExplainer(4, budget=16).explain(Net(), clouds[:2])
    many = InteractionExplainer(12, budget=400, random_state=0).explain(Net(), clouds[:2])

    assert few.values.shape == (2, 16)
    assert many.values.shape == (2, 400)
    logits = Net()(torch.from_numpy(clouds[:2]))
    np.testing.assert_array_equal(many.predicted, logits.argmax(dim=1))


def test_answers_are_kept_only_on_request(clouds):
    kept = InteractionExplainer(3, keep_answers=True, score="logit").explain(
        Net(), clouds[:2], [2, 0]
    )

    assert kept.answers.shape == (2, 8, 3) and kept.answers.dtype == np.float32
    np.testing.assert_allclose(kept.answers[0, :, 2], kept.values[0], rtol=1e-6)
    assert InteractionExplainer(3).explain(Net(), clouds[:1]).answers is None


def test_scale_control_of_chosen_coalitions_is_refused(clouds):
    with pytest.raises(ValueError, match="needs the scores of all coalitions"):
        InteractionExplainer(12, budget=400).scale_control(Net(), clouds[:2])


@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
    ],
)
def test_batches_shrink_on_every_kind_of_memory_error(clouds, message):
    class Large(Net):
        def forward(self, points):
            if len(points) > 3:
                raise RuntimeError(message)
            return super().forward(points)

    explanation = InteractionExplainer(4, batch_size=16).explain(Large(), clouds[:2])

    reference = InteractionExplainer(4).explain(Net(), clouds[:2])
    np.testing.assert_allclose(explanation.values, reference.values, atol=1e-5)


def test_other_runtime_errors_are_not_taken_for_memory():
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert is_out_of_memory(MemoryError())


def test_search_ends_at_the_fastest_size():
    def seconds(n_clouds):
        return n_clouds * {32: 5.0, 64: 4.0, 128: 3.0, 256: 3.5}[n_clouds]

    size = BatchSize("auto", 32)
    tried = []
    for _ in range(10):
        tried.append(size.current)
        size.report(size.current, seconds(size.current))

    assert tried == [32, 32, 64, 128, 256] + [128] * 5


def test_search_goes_down_where_larger_is_slower():
    size = BatchSize("auto", 32)
    for _ in range(10):
        size.report(size.current, size.current * {64: 6, 32: 5, 16: 4, 8: 4.5}[size.current])

    assert size.current == 16
