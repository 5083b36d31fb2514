"""The study: models compared on equal terms, conclusions tested, work not done twice."""

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pointinteract.explanation import Explanation, InteractionExplainer, InteractionStudy
from pointinteract.explanation._study_runs import fingerprint_of, table_of_models
from pointinteract.explanation._study_statistics import (
    Draws,
    Strengths,
    jaccard,
    measures_of,
    over_seeds,
    rank_correlation,
    salient_sets,
    slopes,
    wilson_interval,
)
from pointinteract.explanation._study_transfer import (
    few_shot_readout,
    knn_readout,
    linear_readout,
)
from pointinteract.explanation._study_verdict import judge
from pointinteract.games import (
    and_interactions,
    coalition_orders,
    kappa,
    mean_strength,
    zeta_transform,
)

N_CLOUDS, N_REGIONS = 12, 4


def made_by_order(strengths, seed=0, jitter=0.05, n_right=N_CLOUDS):
    """An explanation whose mean |I| at each order is known, up to a little jitter a cloud."""
    rng = np.random.default_rng(seed)
    orders = coalition_orders(N_REGIONS)
    interactions = np.zeros((N_CLOUDS, 2**N_REGIONS))
    for order, strength in enumerate(strengths, start=1):
        interactions[:, orders == order] = strength
    interactions *= 1 + jitter * rng.normal(size=interactions.shape)
    points = np.random.default_rng(9).normal(size=(N_CLOUDS, 16, 3))
    labels = np.zeros(N_CLOUDS, dtype=int)
    return Explanation(
        values=zeta_transform(interactions),
        points=tuple(points),
        regions=tuple(np.arange(16) % N_REGIONS for _ in range(N_CLOUDS)),
        targets=labels,
        predicted=(np.arange(N_CLOUDS) >= n_right).astype(int),
        labels=labels,
        meta={"model": "made", "score": "log_odds"},
    )


def low_model(seed):
    return made_by_order([4.0 + 0.1 * seed, 1, 1, 1], seed)


def high_model(seed):
    return made_by_order([1, 1, 1, 4.0 + 0.1 * seed], seed + 50)


@pytest.fixture(scope="module")
def study():
    """Low orders in the reference, high orders in the other arm, in every seed."""
    models = {
        "scratch": [low_model(seed) for seed in range(3)],
        "pre-trained": [high_model(seed) for seed in range(3)],
    }
    X = np.stack(models["scratch"][0].points)
    return InteractionStudy(models, X, np.zeros(N_CLOUDS, int), n_bootstraps=100).run()


def pick(frame, **wanted):
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_strength_is_the_ratio_of_means_over_clouds(study):
    explanation = study.explanations_[0]

    table = study.strength_.query(
        "arm == 'scratch' and seed == 0 and clouds == 'all' and normalize == 'kappa'"
    )

    strength = mean_strength(and_interactions(explanation.values)).mean(axis=0)
    np.testing.assert_allclose(table["strength"], kappa(strength))
    assert (table["low"] <= table["strength"]).all()
    assert (table["strength"] <= table["high"]).all()


def test_ranges_add_the_orders_up(study):
    curve = study.strength_.query(
        "arm == 'scratch' and seed == 1 and clouds == 'all' and normalize == 'kappa'"
    )["strength"].to_numpy()
    ranges = study.ranges_.query("arm == 'scratch' and seed == 1 and clouds == 'all'")

    low = pick(ranges, normalize="kappa", which="low", bounds="halves")
    high = pick(ranges, normalize="kappa", which="high", bounds="0.3/0.7")

    assert low["value"] == pytest.approx(curve[:2].sum())
    assert high["value"] == pytest.approx(curve[2:].sum())


def test_difference_is_arm_less_reference_over_paired_seeds(study):
    row = pick(study.tests_, clouds="all", normalize="raw", order=4)

    assert row["arm"] == "pre-trained" and row["reference"] == "scratch"
    assert row["n_seeds"] == 3 and row["n_same_sign"] == 3
    assert row["difference"] == pytest.approx(3.1, abs=0.3)
    assert 0 < row["low"] < row["difference"] < row["high"]


def test_steady_sign_is_established_and_claims_hold(study):
    high = study.consistency_.query("clouds == 'all' and order == 'high'").iloc[0]
    verdicts = study.verdict_.set_index("claim")["verdict"]

    assert high["established"] and high["n_negative"] == 0
    assert verdicts["pre-trained raises high orders"] == "held"
    assert verdicts["pre-trained lowers low orders"] == "held"


def test_the_opposite_did_not_hold():
    models = {
        "scratch": [high_model(seed) for seed in range(3)],
        "pre-trained": [low_model(seed) for seed in range(3)],
    }
    X = np.stack(models["scratch"][0].points)

    study = InteractionStudy(models, X, np.zeros(N_CLOUDS, int), n_bootstraps=50).run()

    verdicts = study.verdict_.set_index("claim")["verdict"]
    assert verdicts["pre-trained raises high orders"] == "did not hold"


def test_sign_that_depends_on_the_normalization_is_undecided():
    # Every order is weaker, the low ones most: kappa high rises while raw high falls.
    scratch = [made_by_order([4, 2, 2, 2], seed) for seed in range(3)]
    weaker = [made_by_order([0.4, 1, 1, 1], seed + 9) for seed in range(3)]
    X = np.stack(scratch[0].points)

    study = InteractionStudy(
        {"scratch": scratch, "pre-trained": weaker}, X, np.zeros(N_CLOUDS, int), n_bootstraps=50
    ).run()

    row = study.verdict_.set_index("claim").loc["pre-trained raises high orders"]
    assert row["low"] > 0
    assert row["verdict"] == "undecided"
    assert "normalization" in row["reason"]


def test_two_seeds_are_too_few_for_a_verdict(study):
    models = {"scratch": [low_model(0), low_model(1)], "pre": [high_model(0), high_model(1)]}

    few = InteractionStudy(models, study.X, study.y, n_bootstraps=50).run()

    assert set(few.verdict_["verdict"]) == {"undecided"}


def test_both_correct_takes_the_clouds_that_both_get_right(study):
    first = made_by_order([4, 1, 1, 1], 0, jitter=0.5, n_right=9)
    second = made_by_order([1, 1, 1, 4], 1, jitter=0.5, n_right=7)

    both = InteractionStudy({"a": [first], "b": [second]}, study.X, study.y, n_bootstraps=20).run()

    row = pick(both.tests_, clouds="correct", normalize="raw", order=1)
    expected = [mean_strength(each.interactions)[:7, 0].mean() for each in (first, second)]
    assert row["difference"] == pytest.approx(expected[1] - expected[0])


def test_overlap_is_full_within_equal_models_and_part_between_others(study):
    table = study.overlap_

    assert table.loc[table["pair"] == "seeds of one arm", "jaccard"].eq(1).all()
    assert len(table) == 15
    assert table.loc[table["pair"] == "two arms", "n_salient"].eq(N_CLOUDS * 15).all()


def test_salient_sets_leave_the_empty_coalition_out():
    interactions = np.array([[9.0, 1.0, 0.04, -2.0]])

    salient = salient_sets(interactions.copy(), 0.05)

    assert salient.tolist() == [[False, True, False, True]]
    assert jaccard(salient, np.array([[False, True, True, False]]))[0] == pytest.approx(1 / 3)


def test_trend_over_stages_and_fractions_finds_the_slope():
    rows = [
        {"arm": "pre", "seed": seed, axis: value, other: 1.0, "accuracy": 0.5 + 0.1 * place,
         "model": made_by_order([1, 1, 1, 1.0 + place + 0.01 * seed], seed)}
        for axis, other, places in (("stage", "fraction", (0.0, 0.5, 1.0)),
                                    ("fraction", "stage", (0.01, 0.1)))
        for place, value in enumerate(places)
        for seed in range(3)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    X = np.stack(table["model"][0].points)

    study = InteractionStudy(table, X, np.zeros(N_CLOUDS, int), n_bootstraps=50).run()

    trend = study.trends_[study.trends_["bounds"].isin(["", "0.3/0.7"])]
    assert pick(trend, axis="stage", quantity="kappa high")["difference"] > 0.1
    assert pick(trend, axis="stage", quantity="accuracy")["difference"] == pytest.approx(0.2)
    # Shares of the data count by powers of ten, 0.01 to 1 in three steps.
    assert pick(trend, axis="fraction", quantity="accuracy")["n_positions"] == 3
    claims = study.verdict_.set_index("claim")["verdict"]
    assert claims["more pre-training raises high orders (pre)"] == "held"


def test_seed_cut_short_is_left_out_of_the_trend():
    rows = [
        {"arm": "pre", "seed": seed, "stage": stage, "accuracy": 0.5 + stage + seed,
         "model": made_by_order([1, 1, 1, 1 + stage], seed)}
        for seed, stages in ((0, (0.0, 0.5, 1.0)), (1, (0.0, 0.5, 1.0)), (2, (0.0, 1.0)))
        for stage in stages
    ]  # fmt: skip
    X = np.stack(rows[0]["model"].points)

    study = InteractionStudy(pd.DataFrame(rows), X, np.zeros(N_CLOUDS, int), n_bootstraps=20).run()

    trend = pick(study.trends_, quantity="accuracy")
    assert trend["n_positions"] == 3 and trend["n_seeds"] == 2
    # Equal slopes have no spread, and no interval is made of their rounding.
    assert trend["difference"] == pytest.approx(1) and np.isnan(trend["low"])


def test_lead_over_the_reference_is_followed_over_the_data():
    rows = []
    for place, fraction in enumerate((0.01, 0.1, 1.0)):
        for seed in range(3):
            right = 0.5 + 0.01 * seed * place
            rows.append({"arm": "scratch", "seed": seed, "fraction": fraction, "accuracy": right,
                         "model": low_model(seed)})  # fmt: skip
            rows.append({"arm": "pre", "seed": seed, "fraction": fraction,
                         "accuracy": right + 0.2 - 0.1 * place + 0.001 * seed * place,
                         "model": made_by_order([4, 1, 1, 1 + place], seed + 5)})  # fmt: skip
    X = np.stack(rows[0]["model"].points)

    study = InteractionStudy(pd.DataFrame(rows), X, np.zeros(N_CLOUDS, int)).run()

    gaps = study.gap_trends_.set_index("quantity")
    assert gaps.loc["accuracy", "difference"] == pytest.approx(-0.099, abs=1e-3)
    assert gaps.loc["kappa high", "difference"] > 0
    verdicts = study.verdict_.set_index("claim")["verdict"]
    assert verdicts["the lead of pre in accuracy shrinks with data"] == "held"
    assert verdicts["the lead of pre in kappa high grows with data"] == "held"


def test_readouts_are_compared_in_pairs_of_seeds(study):
    rows = [
        {"arm": arm, "seed": seed, "readout": "k-NN", "accuracy": 0.5 + 0.1 * seed + gain}
        for arm, gain in (("scratch", 0.0), ("pre-trained", -0.2))
        for seed in range(3)
    ]
    rows[-1]["accuracy"] += 0.001
    models = {
        arm: study.models_.query("arm == @arm")["model"].tolist()
        for arm in ("scratch", "pre-trained")
    }

    read = InteractionStudy(
        models, study.X, study.y, readouts=pd.DataFrame(rows), n_bootstraps=20
    ).run()

    row = read.transfer_tests_.iloc[0]
    assert row["difference"] == pytest.approx(-0.2, abs=1e-3)
    assert row["high"] < 0
    lost = read.verdict_[read.verdict_["claim"].str.contains("transferability")]
    assert lost["verdict"].tolist() == ["held"]


def test_correlation_within_backbones_is_not_fooled_by_pooling():
    # Accuracy falls with kappa within each backbone; the better backbone has more of both.
    x = np.array([0.1, 0.2, 0.3, 0.6, 0.7, 0.8])
    y = np.array([0.53, 0.52, 0.51, 0.93, 0.92, 0.91])
    options = {"n_permutations": 500, "random_state": 0}

    pooled, _ = rank_correlation(x, y, np.zeros(6), **options)
    within, p_value = rank_correlation(x, y, np.repeat([0, 1], 3), **options)

    assert pooled > 0
    assert within == pytest.approx(-1)
    # Two of the 36 arrangements are as extreme: all down, and all up.
    assert p_value == pytest.approx(2 / 36, abs=0.03)


def test_interval_grows_with_the_spread_between_seeds():
    draws = Draws.make(30, 200, 0.95, 0)
    clouds = np.random.default_rng(0).normal(1, 0.1, size=(30, 1))
    close = draws.means(clouds) + np.array([[-0.01, 0.0, 0.01]])
    apart = draws.means(clouds) + np.array([[-1.0, 0.0, 1.0]])

    narrow, wide = over_seeds(close, draws), over_seeds(apart, draws)

    assert narrow.value == pytest.approx(wide.value)
    assert narrow.low > 0.9 and narrow.p_value < 0.001
    # Student's factor for two degrees of freedom: 4.30 times 1 / sqrt(3).
    assert wide.high - wide.value == pytest.approx(4.303 / np.sqrt(3), rel=0.02)


def test_single_seed_has_the_interval_over_clouds():
    draws = Draws.make(200, 2000, 0.95, 0)
    clouds = np.random.default_rng(1).normal(0.3, 1, size=(200, 1))

    test = over_seeds(draws.means(clouds), draws)

    expected = 1.972 * clouds.std() / np.sqrt(200)
    assert test.high - test.value == pytest.approx(expected, rel=0.1)


def test_slopes_are_those_of_least_squares():
    positions = np.array([0.0, 0.5, 2.0])
    curves = np.random.default_rng(0).normal(size=(4, 3))

    expected = [np.polyfit(positions, curve, 1)[0] for curve in curves]

    np.testing.assert_allclose(slopes(curves, positions), expected)


def test_wilson_interval_of_none_right_begins_at_zero():
    value, low, high = wilson_interval(0, 20)

    assert value == 0 and low == pytest.approx(0, abs=1e-12)
    assert high == pytest.approx(0.161, abs=1e-3)


def test_measures_list_the_curve_first():
    measures = measures_of(3, "kappa")
    strengths = Strengths(np.random.default_rng(0).normal(size=(5, 8)), None)

    assert [measure.order for measure in measures[:3]] == [1, 2, 3]
    assert len(measures) == strengths.measure("kappa", Draws.make(5, 3, 0.9, 0)).shape[1]
    assert len(measures_of(3, "cancellation")) == 3


@pytest.mark.parametrize(
    ("estimate", "claimed", "expected"),
    [
        ((0.2, 0.1, 0.3), 1, "held"),
        ((0.2, 0.1, 0.3), -1, "did not hold"),
        ((0.2, -0.1, 0.5), 1, "undecided"),
        ((0.2, np.nan, np.nan), 1, "undecided"),
    ],
)
def test_judge(estimate, claimed, expected):
    verdict, reason = judge(*estimate, claimed=claimed, n_seeds=3)

    assert verdict == expected
    assert reason


# Models that are run, tables of models, and the store.


class Widest:
    """Scores two classes by how wide a cloud is; counts how often it is asked."""

    classes_ = np.array([0, 1])

    def __init__(self, scale=1.0):
        self.scale = scale
        self.asked = 0

    def predict_logits(self, X):
        self.asked += len(X)
        return np.stack([np.abs(points).max(axis=0)[:2] * self.scale for points in X])

    def predict_proba(self, X):
        logits = np.exp(self.predict_logits(X))
        return logits / logits.sum(axis=1, keepdims=True)

    def predict(self, X):
        return self.predict_logits(X).argmax(axis=1)

    def transform(self, X):
        return np.asarray(X).std(axis=1)


def run_models(clouds, models, **options):
    explainer = InteractionExplainer(n_regions=3)
    labels = np.arange(len(clouds)) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return InteractionStudy(
            models, clouds, labels, explainer=explainer, n_bootstraps=20, **options
        ).run()


def test_all_models_share_clouds_and_regions(clouds):
    study = run_models(clouds, {"a": Widest(1), "b": Widest(2)}, controls=False)

    for one, other in zip(*(each.regions for each in study.explanations_), strict=True):
        np.testing.assert_array_equal(one, other)


def test_store_saves_the_work_and_notices_changes(clouds, tmp_path):
    first = Widest(1.0)
    study = run_models(clouds, {"a": first}, controls=False, store=tmp_path)
    once = first.asked

    again = Widest(1.0)
    again.asked = once  # a part of the model, as far as a fingerprint can tell
    kept = fingerprint_of(again, InteractionExplainer(), clouds, [0], None)
    assert kept == fingerprint_of(first, InteractionExplainer(), clouds, [0], None)
    run_models(clouds, {"a": SimpleModel()}, controls=False, store=tmp_path / "other")
    resumed = SimpleModel()
    run_models(clouds, {"a": resumed}, controls=False, store=tmp_path / "other")
    changed = SimpleModel(bias=1.0)
    run_models(clouds, {"a": changed}, controls=False, store=tmp_path / "other")

    assert study.explanations_[0].n_clouds == len(clouds)
    assert SimpleModel.asked[id(resumed)] == 0
    assert SimpleModel.asked[id(changed)] > 0


class SimpleModel:
    """As Widest, but what it counts is no part of it."""

    asked: dict = {}
    classes_ = np.array([0, 1])

    def __init__(self, bias=0.0):
        self.bias = bias
        self.asked[id(self)] = 0

    def predict_logits(self, X):
        self.asked[id(self)] += len(X)
        return np.stack([np.abs(points).max(axis=0)[:2] + self.bias for points in X])

    def predict_proba(self, X):
        logits = np.exp(self.predict_logits(X))
        return logits / logits.sum(axis=1, keepdims=True)


def test_damaged_file_in_the_store_is_made_again(clouds, tmp_path):
    run_models(clouds, {"a": SimpleModel()}, controls=False, store=tmp_path)
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(file.read_bytes()[:100])

    study = run_models(clouds, {"a": SimpleModel()}, controls=False, store=tmp_path)

    assert Explanation.load(file).n_clouds == study.explanations_[0].n_clouds


def test_controls_cover_noise_temperature_and_the_floor(clouds):
    study = run_models(clouds, {"a": [Widest(1), Widest(2)], "b": Widest(3)})

    assert len(study.controls_) == 2 * 3
    wanted = {"correlation", "noise_floor", "kappa T=0.5", "kappa T=2", "kappa_resampled"}
    assert wanted <= set(study.controls_.columns)


def test_accuracy_comes_from_the_test_clouds_where_given(clouds):
    labels = Widest().predict(clouds)

    study = run_models(clouds, {"a": Widest()}, controls=False, test=(clouds, labels))

    assert study.accuracy_["accuracy"].tolist() == [1.0]
    assert study.accuracy_["n_test"].tolist() == [len(clouds)]


def test_readout_functions_are_called_with_each_model(clouds):
    labels = np.arange(len(clouds)) % 2

    study = run_models(
        clouds,
        {"a": Widest(1), "b": Widest(2)},
        controls=False,
        readouts={"k-NN": lambda model: knn_readout(model, clouds, labels, clouds, labels,
                                                    n_neighbors=1)},
    )  # fmt: skip

    assert study.transfer_["accuracy"].tolist() == [1.0, 1.0]


def test_models_may_be_named_by_backbone_and_arm():
    table = table_of_models({("net", "scratch"): [1, 2], ("net", "pre"): {7: 3}})

    assert table["backbone"].tolist() == ["net"] * 3
    assert table["seed"].tolist() == [0, 1, 7]
    assert table["stage"].tolist() == [1.0] * 3


def test_same_model_twice_is_refused():
    frame = pd.DataFrame({"arm": ["a", "a"], "seed": [0, 0], "model": [1, 2]})

    with pytest.raises(ValueError, match="two rows"):
        table_of_models(frame)


@pytest.mark.parametrize("models", [{}, pd.DataFrame({"arm": ["a"]})])
def test_missing_models_are_refused(models):
    with pytest.raises(ValueError, match="columns"):
        table_of_models(models)


def test_explanation_of_other_regions_is_refused(study):
    other = made_by_order([1, 1, 1, 1])
    turned = Explanation(
        values=other.values, points=other.points, regions=tuple(r[::-1] for r in other.regions)
    )

    with pytest.raises(ValueError, match="other clouds or regions"):
        InteractionStudy({"a": other, "b": turned}, study.X, study.y).run()


def test_unknown_reference_is_refused(study):
    with pytest.raises(ValueError, match="reference"):
        InteractionStudy({"a": low_model(0)}, study.X, study.y, reference="b").run()


def test_explanation_of_an_unknown_arm_is_a_key_error(study):
    assert study.explanation("scratch", seed=2) is study.explanations_[2]
    with pytest.raises(KeyError, match="no model"):
        study.explanation("nothing")


# Read-outs.


def two_kinds(n=60, seed=0):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, 64, 3)), np.arange(n) % 3
    X[y == 1, :, 2] *= 4
    X[y == 2, :, 0] *= 4
    return X, y


def test_readouts_see_what_features_hold():
    X, y = two_kinds()
    good = SimpleNamespace(transform=lambda clouds: clouds.std(axis=1))
    blind = SimpleNamespace(transform=lambda clouds: clouds[:, 0] * 1e-3)

    for read_out in (
        lambda model: linear_readout(model, X[:30], y[:30], X[30:], y[30:]),
        lambda model: knn_readout(model, X[:30], y[:30], X[30:], y[30:]),
        lambda model: few_shot_readout(model, X, y, n_way=3, n_shot=4, n_episodes=5),
    ):
        assert read_out(good).value > 0.9
        assert read_out(blind).value < 0.8
        assert read_out(good).low <= read_out(good).value <= read_out(good).high


def test_few_shot_episodes_are_the_same_for_every_model():
    X, y = two_kinds()
    seen = []
    model = SimpleNamespace(transform=lambda clouds: seen.append(clouds) or clouds.std(axis=1))

    first, second = (few_shot_readout(model, X, y, n_shot=3, random_state=4) for _ in range(2))

    assert first == second
    assert len(seen) == 2


def test_readout_of_a_model_without_features_says_so():
    X, y = two_kinds(12)

    with pytest.raises(TypeError, match="transform"):
        knn_readout(object(), X, y, X, y)
    with pytest.raises(ValueError, match="n_shot"):
        few_shot_readout(Widest(), X, y, n_shot=10)
