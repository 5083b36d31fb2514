"""Displays of a study: what is drawn is what was measured, and nothing is shown."""

import numpy as np
import pandas as pd
import pytest

from pointinteract.explanation import Explanation, InteractionStudy

pyplot = pytest.importorskip("matplotlib.pyplot")

from pointinteract.plotting._study import (  # noqa: E402
    LossCurvesDisplay,
    StudyAccuracyDisplay,
    StudyDataDisplay,
    StudyOrdersDisplay,
)
from pointinteract.plotting._study_clouds import (  # noqa: E402
    DecompositionDisplay,
    StrongestSetsDisplay,
    strongest_sets,
)


@pytest.fixture(autouse=True)
def no_window(monkeypatch):
    monkeypatch.setattr(pyplot, "show", lambda *args, **kwargs: pytest.fail("show was called"))
    yield
    pyplot.close("all")


def make_explanation(seed):
    points = np.random.default_rng(1).normal(size=(4, 40, 3))
    labels = np.zeros(4, dtype=int)
    return Explanation(
        values=np.random.default_rng(seed).normal(size=(4, 16)) * 2,
        points=tuple(points),
        regions=tuple(np.arange(40) % 4 for _ in range(4)),
        targets=labels,
        predicted=labels,
        labels=labels,
        meta={"model": "net", "score": "log_odds"},
    )


@pytest.fixture(scope="module")
def study():
    rows = [
        {"backbone": backbone, "arm": arm, "seed": seed, "fraction": fraction,
         "accuracy": 0.5 + 0.1 * seed + fraction / 10 + (arm == "pre") / 7,
         "model": make_explanation(100 * seed + len(arm) + int(10 * fraction))}
        for backbone in ("one", "two")
        for arm in ("scratch", "pre")
        for fraction in (0.1, 0.5, 1.0)
        for seed in range(2)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    X = np.stack(table["model"][0].points)
    return InteractionStudy(table, X, np.zeros(4, int), n_bootstraps=20).run()


def test_orders_have_a_panel_a_backbone_and_the_mean_over_seeds(study):
    display = study.plot("orders")

    assert [ax.get_title() for ax in display.axes_] == ["one", "two"]
    lines = {line.get_label(): line.get_ydata() for line in display.axes_[0].get_lines()}
    table = study.strength_.query(
        "backbone == 'one' and arm == 'pre' and fraction == 1 and normalize == 'kappa' "
        "and clouds == 'all'"
    )
    np.testing.assert_allclose(lines["pre"], table.groupby("order")["strength"].mean())
    assert "pure noise" in lines


def test_curves_of_one_arm_may_be_told_apart_by_the_data(study):
    display = StudyOrdersDisplay.from_study(study, by="fraction").plot()

    assert list(dict.fromkeys(display.curves["curve"])) == ["10%", "50%", "100%"]
    assert set(display.curves["arm"]) == {"pre"}


def test_stages_and_fractions_come_in_order_however_the_models_did(study):
    turned = InteractionStudy(
        study.models_[::-1], study.X, study.y, reference="scratch", n_bootstraps=20
    ).run()

    display = StudyOrdersDisplay.from_study(turned, by="fraction", arm="pre")

    assert list(dict.fromkeys(display.curves["curve"])) == ["10%", "50%", "100%"]


def test_accuracy_has_a_dot_a_model(study):
    display = study.plot("accuracy")

    dots = np.concatenate([group.get_offsets() for group in display.ax_.collections])
    assert len(dots) == len(study.models_)
    assert "rho" in display.ax_.get_title()
    np.testing.assert_allclose(np.sort(dots[:, 1]), np.sort(study.accuracy_["accuracy"]))


def test_data_panels_show_the_leads(study):
    display = StudyDataDisplay.from_study(study).plot()

    line = display.axes_[0].containers[0].lines[0]
    wanted = study.gaps_.query("backbone == 'one' and quantity == 'accuracy'")
    np.testing.assert_allclose(np.asarray(line.get_xdata(), dtype=float), [0.1, 0.5, 1.0])
    drawn = np.asarray(line.get_ydata(), dtype=float)
    np.testing.assert_allclose(drawn, wanted["difference"].to_numpy(dtype=float))


def test_bars_of_a_decomposition_end_at_the_score(study):
    display = DecompositionDisplay.from_study(study, cloud=2).plot()

    explanation = study.explanation("scratch")
    bars = display.axes_[-2].patches[:4]
    ends = [bar.get_y() + bar.get_height() for bar in bars]
    assert bars[0].get_y() == pytest.approx(explanation.values[2, 0])
    assert ends[-1] == pytest.approx(explanation.values[2, -1])
    assert len(display.axes_) == 1 + 4 + 2


def test_strongest_sets_are_of_the_asked_orders():
    explanation = make_explanation(3)

    low, high = (strongest_sets(explanation, 0, side, 3) for side in ("low", "high"))

    # Of four regions only order 1 is low by the bounds; a set of one region is no interaction.
    assert all(bin(members).count("1") == 2 for members in low)
    assert all(bin(members).count("1") >= 3 for members in high)
    strength = np.abs(explanation.interactions[0, high])
    assert (np.diff(strength) <= 0).all()


def test_two_arms_stand_side_by_side(study):
    display = StrongestSetsDisplay.from_study(study, clouds=[0, 3]).plot()

    assert display.axes_.shape == (2, 4)
    titles = [ax.get_title() for ax in display.axes_[0]]
    assert [title.split(",")[0] for title in titles] == ["scratch", "scratch", "pre", "pre"]
    explanations = list(display.explanations.values())
    (members,) = strongest_sets(explanations[0], 3, "high", 1)
    below = display.axes_[1, 1].texts[0].get_text()
    effect = explanations[1].interactions[3, members]
    assert below.startswith("pre: ")
    written = float(below.split()[-1].replace("\N{MINUS SIGN}", "-"))
    assert written == pytest.approx(effect, abs=0.05)


def test_one_explanation_is_refused_where_two_are_compared():
    with pytest.raises(ValueError, match="two"):
        StrongestSetsDisplay({"a": make_explanation(0)})


def test_loss_curves_stand_beside_what_came_of_them():
    histories = {
        "0.1": pd.DataFrame({"interaction_loss": [0.0, -1.0]}),
        "none": pd.DataFrame({"loss": [1.0, 0.5]}),
    }
    strengths = {name: make_explanation(4).strength_by_order() for name in histories}

    display = LossCurvesDisplay(histories, strengths).plot()

    assert [line.get_label() for line in display.axes_[0].get_lines()] == ["0.1"]
    assert [line.get_label() for line in display.axes_[1].get_lines()] == ["0.1", "none"]


def test_study_of_one_arm_cannot_be_drawn_as_two():
    model = make_explanation(0)
    study = InteractionStudy({"a": model}, np.stack(model.points), np.zeros(4, int)).run()

    with pytest.raises(ValueError, match="two are needed"):
        study.plot("strongest")
    assert StudyAccuracyDisplay.from_study(study).plot().ax_ is not None


def test_unknown_kind_is_refused(study):
    with pytest.raises(ValueError, match="kind"):
        study.plot("nonsense")
