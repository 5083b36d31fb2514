"""mask_sensitivity: what the tables say, held against plain sums, and what is refused."""

from itertools import combinations

import numpy as np
import pytest

from pointinteract.explanation import Explanation, InteractionExplainer
from pointinteract.explanation._agreement import strongest_overlap
from pointinteract.explanation._sensitivity import Choice, MaskSensitivity, mask_sensitivity
from pointinteract.games import correlation_by_order


def widest(points):
    return 3 * np.abs(points).max(axis=1)  # one "logit" for each axis


def explanation_of(seed, n_clouds=6, n_regions=4, noise=0.0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_clouds, 2**n_regions))
    values = values + noise * np.random.default_rng(99).normal(size=values.shape)
    regions = tuple(np.arange(20) % n_regions for _ in range(n_clouds))
    return Explanation(
        values=values, points=tuple(np.zeros((20, 3)) for _ in regions), regions=regions
    )


@pytest.fixture
def three():
    return MaskSensitivity(
        {
            Choice("fps", "center"): explanation_of(0),
            Choice("fps", "region"): explanation_of(0, noise=0.5),
            Choice("voxels", "center"): explanation_of(1),
        }
    )


def slow_shapley(values):
    """Mean contribution of each player over all orders, by the weights of coalitions."""
    from math import comb

    n_players = int(np.log2(len(values)))
    shapley = np.zeros(n_players)
    for index in range(len(values)):
        size = bin(index).count("1")
        for player in range(n_players):
            if not index >> player & 1:
                gain = values[index | 1 << player] - values[index]
                shapley[player] += gain / (n_players * comb(n_players - 1, size))
    return shapley


def test_every_choice_is_explained_with_its_parameters(clouds):
    explainer = InteractionExplainer(n_regions=3)

    result = mask_sensitivity(
        explainer, widest, clouds, absences=("center", "remove"), players=("fps", "voxels")
    )

    assert result.choices == tuple(
        (players, absence) for players in ("fps", "voxels") for absence in ("center", "remove")
    )
    for (players, absence), explanation in result.explanations.items():
        alone = InteractionExplainer(n_regions=3, players=players, absence=absence)
        assert np.array_equal(explanation.values, alone.explain(widest, clouds).values)
    assert explainer.absence == "center"


def test_all_points_present_scores_the_same_however_absence_is_meant(clouds):
    result = mask_sensitivity(InteractionExplainer(n_regions=3, random_state=0), widest, clouds)

    whole = [explanation.values[:, -1] for explanation in result.explanations.values()]
    assert len(whole) == 5
    for values in whole[1:]:
        np.testing.assert_allclose(values, whole[0])


def test_background_of_the_explainer_serves_only_the_choice_that_needs_one(clouds):
    background = np.full((1, 3), 0.5)
    explainer = InteractionExplainer(n_regions=3, background=background)

    result = mask_sensitivity(explainer, widest, clouds, absences=("center", "background"))

    nothing = result.explanations["fps", "background"].values[:, 0]
    np.testing.assert_allclose(nothing, explanation_of_one_point(clouds, 0.5))


def explanation_of_one_point(clouds, coordinate):
    """Score of the class that the model predicts, for a cloud in which it sees one point."""
    logits = np.full(3, 3 * coordinate)
    return [logits[0] - np.log(2 * np.exp(logits[0]))] * len(clouds)


def test_every_choice_resumes_from_a_file_of_its_own(clouds, tmp_path):
    explainer = InteractionExplainer(n_regions=3, resume=str(tmp_path / "run.npz"))
    asked = []

    def counted(points):
        asked.append(len(points))
        return widest(points)

    absences = ("center", "region")
    first = mask_sensitivity(explainer, counted, clouds, absences=absences)
    n_asked = sum(asked)
    again = mask_sensitivity(explainer, counted, clouds, absences=absences)

    assert sum(asked) < 1.5 * n_asked
    for choice in first.choices:
        assert np.array_equal(first.explanations[choice].values, again.explanations[choice].values)


def test_given_regions_serve_all_choices(clouds):
    regions = [np.arange(len(cloud)) % 3 for cloud in clouds]

    result = mask_sensitivity(
        InteractionExplainer(n_regions=3),
        widest,
        clouds,
        absences=("center", "region"),
        regions=regions,
    )

    assert result.choices == (("given", "center"), ("given", "region"))
    for explanation in result.explanations.values():
        assert all(map(np.array_equal, explanation.regions, regions))


def test_frame_holds_the_ranges_of_every_explanation(three):
    frame = three.to_frame(n_bootstraps=200)

    assert frame[["players", "absence"]].values.tolist() == [list(c) for c in three.choices]
    for row, explanation in zip(frame.itertuples(), three.explanations.values(), strict=True):
        low = explanation.kappa_low(n_bootstraps=200)
        high = explanation.kappa_high(n_bootstraps=200)
        assert (row.kappa_low, row.kappa_low_from, row.kappa_low_to) == low
        assert (row.kappa_high, row.kappa_high_from, row.kappa_high_to) == high
        change = np.abs(explanation.values[:, -1] - explanation.values[:, 0]).mean()
        assert row.change == pytest.approx(change)


def test_first_choice_agrees_with_itself(three):
    first = three.to_frame().iloc[0]

    assert first["shapley_correlation"] == pytest.approx(1)
    assert first["overlap"] == 1


def test_shapley_values_are_correlated_over_regions_or_over_points(three):
    pairs = three.pairs().set_index(["players", "absence", "players_other", "absence_other"])
    values = {
        choice: np.array([slow_shapley(row) for row in explanation.values])
        for choice, explanation in three.explanations.items()
    }

    assert len(pairs) == 3
    for one, other in combinations(three.choices, 2):
        # All regions have five points here, so points tell what regions tell.
        expected = np.corrcoef(values[one].ravel(), values[other].ravel())[0, 1]
        row = pairs.loc[(*one, *other)]
        assert row["shapley_correlation"] == pytest.approx(expected)
        assert np.isnan(row["overlap"]) == (one.players != other.players)


def test_value_of_a_region_is_divided_among_its_points():
    one, other = explanation_of(0, n_clouds=2), explanation_of(1, n_clouds=2)
    sizes = np.array([1, 2, 4, 13])
    ids = np.repeat(np.arange(4), sizes)
    regions = {"fps": (ids, ids), "voxels": (ids[::-1], ids[::-1])}
    cut = {
        name: Explanation(values=values, points=one.points, regions=regions[name])
        for name, values in (("fps", one.values), ("voxels", other.values))
    }

    pairs = MaskSensitivity({Choice(name, "center"): cut[name] for name in cut}).pairs()

    shares = {
        name: np.concatenate([(slow_shapley(row) / sizes)[regions[name][0]] for row in e.values])
        for name, e in cut.items()
    }
    expected = np.corrcoef(shares["fps"], shares["voxels"])[0, 1]
    assert pairs["shapley_correlation"].item() == pytest.approx(expected)


def test_correlation_by_order_is_that_of_all_clouds_with_an_interval_around(three):
    frame = three.correlation_by_order()

    first, second = (three.explanations[choice] for choice in three.choices[:2])
    expected = correlation_by_order(first.interactions, second.interactions)
    assert frame["order"].tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(frame["correlation"], expected)
    assert (frame["low"] <= frame["correlation"]).all()
    assert (frame["correlation"] <= frame["high"]).all()
    assert (frame["low"] < frame["high"]).all()


def test_one_cloud_has_no_interval_and_no_correlation_of_the_whole():
    one = MaskSensitivity(
        {
            Choice("fps", "center"): explanation_of(0, n_clouds=1),
            Choice("fps", "region"): explanation_of(1, n_clouds=1),
        }
    )

    frame = one.correlation_by_order()

    assert frame["low"].isna().all()
    assert frame["correlation"].isna().tolist() == [False, False, False, True]


def test_choices_that_answer_the_same_agree_in_everything():
    same = MaskSensitivity(
        {Choice("fps", name): explanation_of(0) for name in ("center", "region")}
    )

    np.testing.assert_allclose(same.correlation_by_order()["correlation"], 1)
    assert same.pairs()["overlap"].item() == 1


def test_overlap_counts_the_strongest_coalitions_that_are_the_same():
    first, second = explanation_of(0), explanation_of(1)

    overlap = strongest_overlap(first, second, 3)

    shares = []
    for one, other in zip(first.interactions, second.interactions, strict=True):
        best = [set((np.argsort(-np.abs(row[1:]))[:3] + 1).tolist()) for row in (one, other)]
        shares.append(len(best[0] & best[1]) / 3)
    assert overlap == pytest.approx(np.mean(shares))
    assert strongest_overlap(first, second, 1000) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"absences": ("center", "gone")}, "each of absences must be one of .*got 'gone'"),
        ({"players": ("fps", "slices")}, "each of players must be one of .*got 'slices'"),
        ({"absences": ("center",)}, "make 1 choice; give at least two"),
        ({"absences": ("token_drop", "token_baseline")}, 'tokens need players="patches"'),
        ({"players": ("fps",), "regions": []}, "either players or regions"),
    ],
)
def test_wrong_choices_are_refused_before_anything_is_explained(clouds, options, message):
    def never(points):
        pytest.fail("the model was called")

    with pytest.raises(ValueError, match=message):
        mask_sensitivity(InteractionExplainer(n_regions=3), never, clouds, **options)


def test_explainer_that_samples_coalitions_is_refused(clouds):
    with pytest.raises(ValueError, match=r"all coalitions; lower n_regions \(now 20\)"):
        mask_sensitivity(InteractionExplainer(n_regions=20), widest, clouds)


def test_error_says_which_choice_it_came_up_with(clouds):
    def only_whole_clouds(points):
        if points.shape[1] < 64:
            raise RuntimeError("too few points for me")
        return widest(points)

    with pytest.raises(RuntimeError, match="too few points for me") as caught:
        mask_sensitivity(
            InteractionExplainer(n_regions=3),
            only_whole_clouds,
            clouds,
            absences=("center", "remove"),
        )

    assert "absence='remove'" in "".join(caught.value.__notes__)


def test_drawing_shows_ranges_and_correlations(three):
    pyplot = pytest.importorskip("matplotlib.pyplot")

    display = three.plot()

    ranges, correlations = display.axes_
    frame = three.to_frame()
    lines = {line.get_label(): line for line in ranges.get_lines()}
    np.testing.assert_allclose(lines["few regions"].get_xdata(), frame["kappa_low"])
    np.testing.assert_allclose(lines["many regions"].get_xdata(), frame["kappa_high"])
    assert [text.get_text() for text in ranges.get_yticklabels()] == [
        "fps, center",
        "fps, region",
        "voxels, center",
    ]
    curves = {line.get_label(): line for line in correlations.get_lines()}
    np.testing.assert_allclose(
        curves["region"].get_ydata(), three.correlation_by_order()["correlation"]
    )
    pyplot.close("all")


def test_drawing_without_comparable_players_leaves_the_second_panel_empty():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    two = MaskSensitivity(
        {Choice(name, "center"): explanation_of(0) for name in ("fps", "voxels")}
    )

    display = two.plot()

    assert len(two.correlation_by_order()) == 0
    assert display.axes_[1].get_legend() is None
    pyplot.close("all")
