"""Displays of one explanation: tables of color, heat on a cloud, decay, sets as dots."""

import numpy as np
import pytest

from pointinteract.explanation import Explanation
from pointinteract.games import evaluate_all, harsanyi_game
from pointinteract.plotting import (
    OrderByClassDisplay,
    RegionHeatDisplay,
    SparsityDisplay,
    UpsetDisplay,
)

pytest.importorskip("matplotlib").use("Agg")

LOCAL = {(0,): 2.0, (3,): -1.0}
JOINT = {(0, 1, 2, 3): 4.0, (1,): 1.0}


@pytest.fixture
def explanation():
    """Two clouds of one class that act alone, one of another that acts together."""
    rng = np.random.default_rng(0)
    values = [evaluate_all(harsanyi_game(4, terms)) for terms in (LOCAL, LOCAL, JOINT)]
    regions = np.arange(40) % 4
    return Explanation(
        values=np.stack(values),
        points=tuple(rng.normal(size=(3, 40, 3))),
        regions=(regions,) * 3,
        targets=np.array([0, 0, 1]),
        predicted=np.array([0, 1, 1]),
        labels=np.array([0, 0, 1]),
        classes=np.array(["chair", "lamp"]),
        region_names=(("seat", "back", "leg $1$", "arm"),) * 3,
    )


def test_rows_of_the_class_table_are_shares_over_the_clouds_of_a_class(explanation):
    display = OrderByClassDisplay.from_explanation(explanation)

    assert display.class_names == ["chair", "lamp"]
    assert display.n_clouds == [2, 1]
    np.testing.assert_allclose(display.strength[0], [1, 0, 0, 0])
    # Mean strength of order 1 is 1 / 4, that of order 4 is 4.
    np.testing.assert_allclose(display.strength[1], [0.25 / 4.25, 0, 0, 4 / 4.25])


def test_classes_may_be_those_predicted(explanation):
    display = OrderByClassDisplay.from_explanation(explanation, by="predicted")

    assert display.n_clouds == [1, 2]


def test_class_table_without_classes_says_what_is_missing(explanation):
    bare = Explanation(
        values=explanation.values, points=explanation.points, regions=explanation.regions
    )

    with pytest.raises(ValueError, match="pass y to explain"):
        OrderByClassDisplay.from_explanation(bare, by="true")


def test_class_table_writes_each_number(explanation):
    display = OrderByClassDisplay.from_explanation(explanation).plot()

    written = [text.get_text() for text in display.ax_.texts]
    assert len(written) == 8
    assert written[0] == "1.00" and written[-1] == ".94"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("shapley", [1, 2, 1, 1]), ("banzhaf", [0.5, 1.5, 0.5, 0.5]), ("alone", [0, 1, 0, 0])],
)
def test_heat_is_what_each_region_brings(explanation, kind, expected):
    display = RegionHeatDisplay.from_explanation(explanation, cloud=2, kind=kind)

    np.testing.assert_allclose(display.region_values, expected)


def test_heat_names_regions_on_the_cloud(explanation):
    display = RegionHeatDisplay.from_explanation(explanation, cloud=2).plot()
    display.figure_.canvas.draw()

    written = " ".join(text.get_text() for text in display.ax_.texts)
    assert "seat" in written and "+2.0" in written


def test_sparsity_counts_salient_interactions_and_ends_without_error(explanation):
    display = SparsityDisplay.from_explanation(explanation)

    assert display.n_salient.tolist() == [2, 2, 2]
    np.testing.assert_allclose(display.errors[:, 0], 1, atol=0.5)
    np.testing.assert_allclose(display.errors[:, -1], 0, atol=1e-12)
    assert display.plot().figure_ is display.axes_[0].figure


def test_upset_draws_a_bar_and_its_members_for_each_interaction(explanation):
    display = UpsetDisplay.from_explanation(explanation, cloud=2, top=2).plot()

    assert display.members == [(0, 1, 2, 3), (1,)]
    heights = [bar.get_height() for bar in display.axes_[0].patches]
    np.testing.assert_allclose(heights, [4, 1])


def test_upset_can_leave_out_single_regions(explanation):
    display = UpsetDisplay.from_explanation(explanation, cloud=2, top=1, min_order=2)

    assert display.members == [(0, 1, 2, 3)]
