"""The explainer against brute force, for every kind of model, and its refusals."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC
from torch import nn

from pointinteract.exceptions import CloudError, PointInteractWarning
from pointinteract.explanation import CloudGame, Explanation, InteractionExplainer
from pointinteract.games import all_coalitions, evaluate_all

N_REGIONS = 4


class MaxNet(nn.Module):
    """A tiny PointNet with the layers that behave differently in training."""

    def __init__(self, n_classes=3, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.points = nn.Sequential(nn.Linear(3, 16), nn.ReLU())
            self.head = nn.Sequential(
                nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, n_classes)
            )

    def forward(self, points):
        return self.head(self.points(points).amax(dim=1))


def flat(estimator):
    return make_pipeline(FunctionTransformer(lambda X: X.reshape(len(X), -1)), estimator)


def slow_value(module, cloud, regions, kept, target):
    """Log-odds of one masked cloud, written out."""
    masked = cloud.copy()
    for row, region in enumerate(regions):
        if region not in kept:
            masked[row] = cloud.mean(axis=0)
    module.eval()
    with torch.no_grad():
        p = module(torch.from_numpy(masked)[None]).double().softmax(dim=1)[0]
    return float(torch.log(p[target] / (1 - p[target])))


@pytest.fixture
def module():
    return MaxNet()


@pytest.fixture
def explainer():
    return InteractionExplainer(n_regions=N_REGIONS)


def test_values_equal_masking_by_hand(module, explainer, clouds):
    y = np.array([0, 1, 2, 0, 1, 2, 0, 1])

    explanation = explainer.explain(module, clouds, y)

    for cloud in (0, 5):
        for number, row in enumerate(all_coalitions(N_REGIONS)):
            expected = slow_value(
                module, clouds[cloud], explanation.regions[cloud], np.flatnonzero(row), y[cloud]
            )
            assert explanation.values[cloud, number] == pytest.approx(expected, abs=1e-4)


def test_interactions_sum_up_to_the_score_of_the_whole_cloud(module, explainer, clouds):
    explanation = explainer.explain(module, clouds)

    with torch.no_grad():
        logits = module.eval()(torch.from_numpy(clouds)).double().numpy()
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    best = p.max(axis=1)
    np.testing.assert_allclose(
        explanation.interactions.sum(axis=1), np.log(best / (1 - best)), atol=1e-4
    )
    np.testing.assert_array_equal(explanation.predicted, logits.argmax(axis=1))


def test_module_is_left_as_it_was(module, explainer, clouds):
    module.train()
    module.head[0].eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}

    explainer.explain(module, clouds)

    assert module.training and module.points.training and not module.head[0].training
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in module.parameters())


def test_module_mode_is_restored_after_an_error(explainer, clouds):
    class Failing(MaxNet):
        def forward(self, points):
            raise RuntimeError("out of luck")

    module = Failing().train()

    with pytest.raises(RuntimeError, match="out of luck"):
        explainer.explain(module, clouds)
    assert module.training


@pytest.mark.parametrize("batch_size", [1, 3, 1000, "auto", None])
def test_batch_size_does_not_change_values(module, clouds, batch_size):
    reference = InteractionExplainer(N_REGIONS, batch_size=16).explain(module, clouds[:2])
    explanation = InteractionExplainer(N_REGIONS, batch_size=batch_size).explain(
        module, clouds[:2]
    )

    np.testing.assert_allclose(explanation.values, reference.values, atol=1e-5)


def test_same_call_gives_the_same_bits(module, explainer, clouds):
    first, second = explainer.explain(module, clouds), explainer.explain(module, clouds)

    np.testing.assert_array_equal(first.values, second.values)


def test_callable_and_module_agree(module, explainer, clouds):
    def score(points):
        assert isinstance(points, np.ndarray) and points.dtype == np.float32
        with torch.no_grad():
            return module.eval()(torch.from_numpy(points)).numpy()

    by_module = explainer.explain(module, clouds)
    by_callable = explainer.explain(score, clouds)

    np.testing.assert_allclose(by_callable.values, by_module.values, atol=1e-5)


def test_network_that_returns_a_tuple_is_read_by_its_first_entry(module, explainer, clouds):
    class Published(MaxNet):
        def forward(self, points):
            return super().forward(points), points.mean()

    np.testing.assert_allclose(
        explainer.explain(Published(), clouds).values,
        explainer.explain(module, clouds).values,
    )


def test_probabilities_and_decisions_of_an_estimator_tell_the_same_log_odds(clouds, labels):
    model = flat(LogisticRegression()).fit(clouds, labels)

    by_probability = InteractionExplainer(N_REGIONS, output="probabilities").explain(
        model, clouds, labels
    )
    by_decision = InteractionExplainer(N_REGIONS, output="logits").explain(model, clouds, labels)

    assert by_probability.meta["n_clipped"] == 0
    np.testing.assert_allclose(by_probability.values, by_decision.values, atol=1e-4)


def test_binary_decisions_are_log_odds_of_the_second_class(clouds, labels):
    model = flat(LinearSVC()).fit(clouds, labels)

    explanation = InteractionExplainer(N_REGIONS, target=model.classes_[1]).explain(model, clouds)

    np.testing.assert_allclose(explanation.values[:, -1], model.decision_function(clouds))


def test_estimator_with_raw_logits_is_asked_for_them(clouds, explainer):
    class Classifier:
        classes_ = np.array(["ball", "flat", "ring"])
        module = MaxNet().eval()

        def predict_proba(self, X):
            raise AssertionError("probabilities were asked for")

        def predict_logits(self, X):
            with torch.no_grad():
                return self.module(torch.from_numpy(X)).numpy()

    explanation = explainer.explain(Classifier(), clouds, np.array(["flat"] * 8))

    reference = explainer.explain(Classifier.module, clouds, np.full(8, 1))
    np.testing.assert_allclose(explanation.values, reference.values, atol=1e-6)
    assert explanation.class_name(explanation.targets[0]) == "flat"


def test_forest_with_hard_zeros_is_clipped_and_says_so(clouds, labels):
    model = flat(RandomForestClassifier(5, random_state=0)).fit(clouds, labels)

    explanation = InteractionExplainer(N_REGIONS).explain(model, clouds)

    assert np.isfinite(explanation.values).all()
    assert explanation.meta["n_clipped"] > 0


def test_plain_values_need_no_target(explainer, clouds):
    explanation = explainer.explain(lambda points: points[:, :, 2].max(axis=1), clouds)

    assert explanation.targets is None and explanation.predicted is None
    np.testing.assert_allclose(explanation.values[:, -1], clouds[:, :, 2].max(axis=1))


def test_additive_model_has_no_interaction_above_order_one(clouds):
    def total_height(points):
        return points[:, :, 2].sum(axis=1, dtype=np.float64)

    explanation = InteractionExplainer(N_REGIONS).explain(total_height, clouds)

    strength = explanation.strength_by_order()["strength"]
    np.testing.assert_allclose(strength, [1, 0, 0, 0], atol=1e-5)


def test_lists_of_unequal_clouds_equal_one_by_one(module, explainer, clouds):
    ragged = [clouds[0], clouds[1][:40], clouds[2], clouds[3][:33]]

    together = explainer.explain(module, ragged)

    for number, cloud in enumerate(ragged):
        alone = explainer.explain(module, cloud[None])
        np.testing.assert_array_equal(together.values[number], alone.values[0])
        np.testing.assert_array_equal(together.regions[number], alone.regions[0])


def test_read_only_clouds_are_fine_and_not_changed(module, explainer, clouds):
    before = clouds.copy()
    clouds.flags.writeable = False

    explainer.explain(module, clouds)

    np.testing.assert_array_equal(clouds, before)


@pytest.mark.filterwarnings("error")
def test_read_only_clouds_raise_no_warning(module, explainer, clouds):
    clouds.flags.writeable = False

    explainer.explain(module, clouds)


def test_given_regions_are_used(module, clouds):
    regions = np.tile(np.arange(64) % 3, (8, 1))

    explanation = InteractionExplainer(3).explain(module, clouds, regions=regions)

    np.testing.assert_array_equal(np.stack(explanation.regions), regions)


def test_order_of_points_within_regions_does_not_matter(module, clouds):
    regions = np.tile(np.arange(64) % 3, (8, 1))
    order = np.random.default_rng(0).permutation(64)
    explainer = InteractionExplainer(3)

    before = explainer.explain(module, clouds, regions=regions)
    after = explainer.explain(module, clouds[:, order], regions=regions[:, order])

    np.testing.assert_allclose(after.values, before.values, atol=1e-4)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ("logit", lambda z, y: z[y]),
        ("log_probability", lambda z, y: z[y] - np.log(np.exp(z).sum())),
        ("probability", lambda z, y: np.exp(z[y]) / np.exp(z).sum()),
        ("margin", lambda z, y: z[y] - np.delete(z, y).max()),
        (lambda z, y: z[:, y] ** 2, lambda z, y: z[y] ** 2),
    ],
)
def test_scores_are_what_their_names_say(module, clouds, score, expected):
    explanation = InteractionExplainer(2, score=score).explain(module, clouds, np.full(8, 2))

    with torch.no_grad():
        logits = module.eval()(torch.from_numpy(clouds)).double().numpy()
    np.testing.assert_allclose(
        explanation.values[:, -1], [expected(z, 2) for z in logits], atol=1e-5
    )


def test_log_odds_of_certain_answers_stay_finite():
    cloud = np.random.default_rng(0).normal(size=(1, 16, 3))

    def certain(points):
        return np.column_stack([np.full(len(points), 900.0), np.zeros((len(points), 2))])

    explanation = InteractionExplainer(2, target=0).explain(certain, cloud)

    np.testing.assert_allclose(explanation.values, 900 - np.log(2))


def test_target_follows_labels_predictions_or_a_fixed_class(module, clouds):
    y = np.array([0, 1, 2, 0, 1, 2, 0, 1])

    def targets(target, y):
        return InteractionExplainer(2, target=target).explain(module, clouds, y).targets

    np.testing.assert_array_equal(targets("auto", y), y)
    np.testing.assert_array_equal(targets("true", y), y)
    np.testing.assert_array_equal(targets(1, None), np.full(8, 1))
    predicted = InteractionExplainer(2).explain(module, clouds).predicted
    np.testing.assert_array_equal(targets("predicted", y), predicted)
    np.testing.assert_array_equal(targets("auto", None), predicted)


@pytest.mark.parametrize("n_jobs", [2])
def test_jobs_do_not_change_values(clouds, labels, n_jobs):
    model = flat(LogisticRegression()).fit(clouds, labels)

    parallel = InteractionExplainer(2, n_jobs=n_jobs).explain(model, clouds)

    np.testing.assert_array_equal(
        parallel.values, InteractionExplainer(2).explain(model, clouds).values
    )


def test_progress_reaches_the_total(module, clouds):
    calls = []

    InteractionExplainer(
        3, batch_size=5, progress=lambda done, total: calls.append((done, total))
    ).explain(module, clouds[:2])

    assert [done for done, _ in calls] == [5, 8, 13, 16]
    assert {total for _, total in calls} == {16}


def test_progress_bar_can_be_asked_for(module, clouds, capsys):
    pytest.importorskip("rich")

    InteractionExplainer(2, progress=True).explain(module, clouds[:1])


def test_random_model_is_noticed(explainer, clouds):
    random = np.random.default_rng(0)

    with pytest.warns(PointInteractWarning, match="noisy answered differently .* by"):

        def noisy(points):
            return random.normal(size=(len(points), 3))

        explainer.explain(noisy, clouds)


def test_model_that_looks_across_the_batch_is_noticed(explainer, clouds):
    def relative(points):
        heights = points.max(axis=1)
        return heights - heights.mean(axis=0)

    with pytest.warns(PointInteractWarning, match="batch statistics"):
        explainer.explain(relative, clouds)


def test_game_of_a_cloud_answers_as_the_explanation(module, explainer, clouds):
    from pointinteract.explanation._models import as_cloud_model

    explanation = explainer.explain(lambda points: points.max(axis=(1, 2)), clouds[:1])
    model = as_cloud_model(lambda points: points.max(axis=(1, 2)))

    game = CloudGame(clouds[0], explanation.regions[0], N_REGIONS, model)

    np.testing.assert_array_equal(evaluate_all(game, batch_size=3), explanation.values[0])


def test_float64_clouds_reach_callables_as_they_are(explainer, clouds):
    seen = set()

    def spy(points):
        seen.add(points.dtype)
        return points.max(axis=(1, 2))

    explainer.explain(spy, clouds.astype(np.float64))

    assert seen == {np.dtype("float64")}


def test_explainer_is_described_by_its_parameters():
    explainer = InteractionExplainer(6, score="logit")

    assert explainer.get_params()["n_regions"] == 6
    assert repr(explainer) == "InteractionExplainer(n_regions=6, score='logit')"


def bad_calls():
    """Each: a name, the parameters, what is passed to explain, the message."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2, 16, 3)).astype(np.float32)
    net = MaxNet()
    broken = X.copy()
    broken[1, 3, 0] = np.nan
    same = X.copy()
    same[1, 2:] = same[1, 0]
    logistic = flat(LogisticRegression()).fit(X, ["a", "b"])
    ids = np.tile(np.arange(16) % 2, (2, 1))

    def per_point(points):
        return points

    def unit_size(points):
        with np.errstate(all="ignore"):
            points = points - points.mean(axis=1, keepdims=True)
            return (points / np.abs(points).max(axis=(1, 2), keepdims=True)).sum(axis=1)

    return {
        "one cloud": ({}, (net, X[0]), "pass X\\[None\\]"),
        "two coordinates": ({}, (net, X[..., :2]), "3 or more channels"),
        "nothing": ({}, (net, []), "no cloud"),
        "text": ({}, (net, X.astype(str)), "must hold numbers"),
        "nan": ({}, (net, broken), "cloud 1 has NaN or infinity in 1 of 16"),
        "few distinct points": ({}, (net, same), "cloud 1 of X has 2 distinct points"),
        "mixed channels": ({}, (net, [X[0], np.ones((16, 4))]), "same channels"),
        "labels missing": ({"target": "true"}, (net, X), "pass y"),
        "labels too many": ({}, (net, X, [0, 1, 2]), "each of 2 clouds"),
        "label beyond outputs": ({}, (net, X, [0, 7]), "output column 7.* 3 columns"),
        "label unknown": ({}, (logistic, X, ["a", "z"]), "label 'z'.*'a', 'b'"),
        "names for a plain module": ({}, (net, X, ["a", "b"]), "no classes_"),
        "class itself": ({}, (MaxNet, X), "instance, got the class MaxNet"),
        "no model": ({}, (3, X), "got int"),
        "per-point output": ({}, (per_point, X), r"n_classes\) logits.*got shape"),
        "logits as probabilities": (
            {"output": "probabilities"},
            (net, X),
            "use output='logits'",
        ),
        "logit of probabilities": (
            {"output": "probabilities", "score": "logit"},
            (net, X),
            "needs logits",
        ),
        "scaling inside": ({}, (unit_size, np.round(8 * X)), "Scale before explaining"),
        "score": ({"score": "odds"}, (net, X), "'log_odds'.*got 'odds'"),
        "absence": ({"absence": "none"}, (net, X), "got 'none'"),
        "n_regions": ({"n_regions": 400}, (net, X), "from 1 to 256, got 400"),
        "batch_size": ({"batch_size": 0}, (net, X), "batch_size must be at least 1"),
        "regions of one cloud": ({"regions": ids[:1]}, (net, X), "for 1 clouds, X holds 2"),
        "regions too short": ({"regions": ids[:, :9]}, (net, X), "16 integers.*\\(9,\\)"),
        "regions unused": ({"regions": ids * 0}, (net, X), "missing \\[1\\]"),
        "names": ({"region_names": ["a"]}, (net, X), "region_names must be 2 names"),
    }


@pytest.mark.parametrize("name", bad_calls())
def test_bad_call_says_what_came_and_what_is_right(name):
    parameters, arguments, message = bad_calls()[name]
    extra = {k: parameters[k] for k in ("regions", "region_names") if k in parameters}
    parameters = {"n_regions": 2 if name != "few distinct points" else 4} | {
        k: v for k, v in parameters.items() if k not in extra
    }

    with pytest.raises((ValueError, TypeError), match=f"(?s){message}"):
        InteractionExplainer(**parameters).explain(*arguments, **extra)


def test_errors_about_clouds_are_cloud_errors(explainer, clouds):
    with pytest.raises(CloudError):
        explainer.explain(MaxNet(), clouds[..., :2])


def test_result_type(module, explainer, clouds):
    explanation = explainer.explain(module, clouds[:1])

    assert isinstance(explanation, Explanation)
    members = itertools.chain.from_iterable(explanation.to_frame()["members"])
    assert max(members) == N_REGIONS - 1


def test_model_that_normalizes_inside_is_noticed(explainer, clouds):
    def normalizing(points):
        points = points - points.mean(axis=1, keepdims=True)
        size = np.abs(points).max(axis=(1, 2), keepdims=True)
        return (points / np.maximum(size, 1e-3)).max(axis=1)

    with pytest.warns(PointInteractWarning, match="normalizing answers the same to a moved"):
        explainer.explain(normalizing, clouds)


def test_model_that_always_says_the_same_is_not_accused(explainer, clouds):
    explanation = explainer.explain(lambda points: np.ones((len(points), 3)), clouds)

    assert explanation.strength_by_order()["strength"].isna().all()


class PreparingClassifier:
    """Centers clouds by itself, and offers that as a step of its own."""

    classes_ = np.array(["a", "b", "c"])

    def __init__(self):
        self.n_prepared = 0

    def __sklearn_is_fitted__(self):
        return True

    def fit(self, X, y):
        return self

    def prepare_clouds(self, X):
        self.n_prepared += 1
        return np.asarray(X) - np.mean(X, axis=1, keepdims=True)

    def predict_logits(self, X, *, prepared=False):
        return (X if prepared else self.prepare_clouds(X)).max(axis=1)

    def predict_proba(self, X):
        raise AssertionError("logits were there")


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_clouds_are_prepared_once_and_masked_after(explainer, clouds, in_pipeline):
    classifier = PreparingClassifier()
    model = classifier
    if in_pipeline:
        model = make_pipeline(FunctionTransformer(lambda X: 2 * X), classifier)

    explanation = explainer.explain(model, clouds + 5)

    prepared = (clouds - clouds.mean(axis=1, keepdims=True)) * (2 if in_pipeline else 1)
    reference = explainer.explain(lambda points: points.max(axis=1), prepared)
    assert classifier.n_prepared == 1
    np.testing.assert_allclose(np.stack(explanation.points), prepared, atol=1e-5)
    np.testing.assert_allclose(explanation.values, reference.values, atol=1e-4)


def test_halves_of_the_noise_control_are_not_prepared_again(explainer, clouds):
    classifier = PreparingClassifier()

    explainer.noise_control(classifier, clouds)

    assert classifier.n_prepared == 1


def test_batches_shrink_until_they_fit_the_memory(clouds):
    sizes = []

    def small_device(points):
        sizes.append(len(points))
        if len(points) > 5:
            raise torch.cuda.OutOfMemoryError
        return points.max(axis=(1, 2))

    explanation = InteractionExplainer(N_REGIONS, batch_size=16).explain(small_device, clouds)

    np.testing.assert_allclose(explanation.values[:, -1], clouds.max(axis=(1, 2)))
    assert sizes.count(16) == 1


def test_model_too_large_for_one_cloud_says_so(explainer, clouds):
    def no_memory(points):
        raise torch.cuda.OutOfMemoryError

    with pytest.raises(torch.cuda.OutOfMemoryError):
        explainer.explain(no_memory, clouds)
