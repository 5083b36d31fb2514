"""Displays: what they take from an explanation, what they draw, and that they never show."""

import numpy as np
import pytest

from pointinteract.explanation import Explanation
from pointinteract.explanation._sampled import build_sampled_fields, sample_plan
from pointinteract.games import noise_floor

pyplot = pytest.importorskip("matplotlib.pyplot")

from pointinteract.plotting import (  # noqa: E402
    OrderByClassDisplay,
    RegionHeatDisplay,
    RegionInteractionDisplay,
    SparsityDisplay,
    StrengthByOrderDisplay,
    UpsetDisplay,
    interactive_regions,
)


@pytest.fixture(autouse=True)
def no_window(monkeypatch):
    monkeypatch.setattr(pyplot, "show", lambda *args, **kwargs: pytest.fail("show was called"))
    yield
    pyplot.close("all")


def make_explanation(seed=0, n_clouds=5, n_regions=4, names=None):
    rng = np.random.default_rng(seed)
    return Explanation(
        values=rng.normal(size=(n_clouds, 2**n_regions)) * 2,
        points=tuple(rng.normal(size=(40, 3)) for _ in range(n_clouds)),
        regions=tuple(np.arange(40) % n_regions for _ in range(n_clouds)),
        targets=np.zeros(n_clouds, dtype=int),
        predicted=np.zeros(n_clouds, dtype=int),
        classes=np.array(["chair", "table"]),
        region_names=names and tuple([tuple(names)] * n_clouds),
        meta={"model": "net", "score": "log_odds", "target": "predicted"},
    )


def test_curve_shows_the_table_and_the_noise_floor():
    explanation = make_explanation()

    display = explanation.plot()

    lines = {line.get_label(): line.get_ydata() for line in display.ax_.get_lines()}
    np.testing.assert_allclose(lines["net"], explanation.strength_by_order()["strength"])
    np.testing.assert_allclose(lines["what pure noise would give"], noise_floor(4))
    assert display.ax_.get_xlim() == (0.5, 4.5)


def test_band_is_the_interval():
    explanation = make_explanation()

    display = explanation.plot()

    band = display.ax_.collections[0].get_paths()[0].get_extents()
    table = explanation.strength_by_order()
    assert band.y0 == pytest.approx(table["low"].min())
    assert band.y1 == pytest.approx(table["high"].max())


def test_one_cloud_is_drawn_without_a_band():
    display = make_explanation(n_clouds=1).plot()

    assert len(display.ax_.collections) == 0


def test_several_explanations_share_the_given_axes():
    _, ax = pyplot.subplots()

    display = StrengthByOrderDisplay.from_explanations(
        {"scratch": make_explanation(0), "pre-trained": make_explanation(1)}
    ).plot(ax=ax)

    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert display.ax_ is ax
    assert labels == ["scratch", "pre-trained", "what pure noise would give"]


@pytest.mark.parametrize("normalize", ["raw", "z", "cancellation"])
def test_noise_floor_is_left_out_where_it_does_not_apply(normalize):
    display = StrengthByOrderDisplay.from_explanation(make_explanation(), normalize=normalize)

    assert display.noise_floor is None
    display.plot()


def test_curves_of_different_numbers_of_regions_are_refused():
    with pytest.raises(ValueError, match=r"got \[3, 4\]"):
        StrengthByOrderDisplay.from_explanations(
            {"a": make_explanation(n_regions=4), "b": make_explanation(n_regions=3)}
        )


def test_no_explanation_is_refused():
    with pytest.raises(ValueError, match="empty"):
        StrengthByOrderDisplay.from_explanations({})


def test_region_display_takes_the_strongest_interactions():
    explanation = make_explanation()

    display = RegionInteractionDisplay.from_explanation(explanation, cloud=2, top=3)

    strength = np.sort(np.abs(explanation.interactions[2, 1:]))[::-1]
    np.testing.assert_allclose(np.abs(display.effects), strength[:3])
    np.testing.assert_array_equal(display.points, explanation.points[2])


def test_region_display_draws_one_panel_more_than_interactions():
    display = make_explanation().plot("regions", cloud=1)

    assert len(display.axes_) == 6
    titles = [ax.get_title().replace("\n", " ") for ax in display.axes_]
    assert titles[0].startswith("chair: log-odds ")
    assert titles[1:] == display.titles


def test_titles_are_plain_words():
    explanation = make_explanation(names=["leg", "seat", "back", "arm"])
    values = np.zeros_like(explanation.values)
    values[:, 0b0110::1] = 0
    coalition = {0b0110: 1.8, 0b0001: -0.5}
    for index, effect in coalition.items():
        inside = [k for k in range(16) if k & index == index]
        values[:, inside] += effect
    explanation = Explanation(
        values, explanation.points, explanation.regions, region_names=explanation.region_names
    )

    display = RegionInteractionDisplay.from_explanation(explanation, top=2)

    assert display.titles == ["seat + back together: +1.8", "leg alone: \N{MINUS SIGN}0.50"]
    assert display.heading == "whole cloud: score +1.3"


def test_many_regions_are_counted_not_listed():
    explanation = make_explanation(n_regions=6)
    values = np.zeros_like(explanation.values)
    values[:, -1] = 2.0
    explanation = Explanation(values, explanation.points, explanation.regions)

    display = RegionInteractionDisplay.from_explanation(explanation, top=1)

    assert display.titles == ["6 regions together: +2.0"]


def test_regions_outside_an_interaction_are_gray():
    explanation = make_explanation()

    display = RegionInteractionDisplay.from_explanation(explanation, top=1, min_order=1).plot()

    colors = display.axes_[1].collections[0].get_facecolors()[:, :3]
    n_colored = int((np.ptp(colors, axis=1) > 0.1).sum())
    members = [i for i in range(4) if display.coalitions[0] >> i & 1]
    assert n_colored == int(np.isin(explanation.regions[0], members).sum())


@pytest.mark.parametrize("n_regions", [1, 2, 16])
def test_any_number_of_regions_can_be_drawn(n_regions):
    explanation = make_explanation(n_regions=n_regions, n_clouds=2)

    explanation.plot()
    explanation.plot("regions").figure_.canvas.draw()


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'upset', 'heat'; got 'pie'"):
        make_explanation().plot("pie")


@pytest.mark.parametrize(
    ("kind", "display"),
    [
        ("orders", StrengthByOrderDisplay),
        ("classes", OrderByClassDisplay),
        ("sparsity", SparsityDisplay),
        ("regions", RegionInteractionDisplay),
        ("upset", UpsetDisplay),
        ("heat", RegionHeatDisplay),
    ],
)
def test_every_kind_is_drawn_by_its_display(kind, display):
    drawn = make_explanation().plot(kind, cloud=1)

    assert type(drawn) is display
    drawn.figure_.canvas.draw()


@pytest.mark.parametrize("kind", ["regions", "upset", "heat"])
def test_kinds_of_one_cloud_show_the_cloud_asked_for(kind):
    explanation = make_explanation(n_clouds=2)
    values = np.zeros_like(explanation.values)
    values[1, -1] = 3.0
    explanation = Explanation(values, explanation.points, explanation.regions)

    drawn = explanation.plot(kind, cloud=1)

    numbers = drawn.region_values if kind == "heat" else drawn.effects
    assert max(np.abs(numbers)) > 0.5
    with pytest.raises(ValueError, match="cloud must be from -2 to 1, got 2"):
        explanation.plot(kind, cloud=2)


@pytest.mark.parametrize("kind", ["orders", "classes", "heat"])
def test_single_pictures_are_drawn_into_given_axes(kind):
    _, ax = pyplot.subplots()

    assert make_explanation().plot(kind, ax=ax).ax_ is ax


@pytest.mark.parametrize("kind", ["sparsity", "regions", "upset"])
def test_axes_are_refused_where_they_would_be_ignored(kind):
    _, ax = pyplot.subplots()

    with pytest.raises(ValueError, match=f"kind='{kind}' makes a figure of its own"):
        make_explanation().plot(kind, ax=ax)


def make_sampled(n_regions=20, n_clouds=2):
    """Sums of regions, and of regions 3 and 17 together."""
    rng = np.random.default_rng(0)
    coalitions = sample_plan(n_regions, 600, random_state=0)
    single = np.zeros(n_regions)
    single[[3, 5]] = 1.0, -0.5
    values = coalitions @ single + 2.0 * (coalitions[:, 3] & coalitions[:, 17])
    values = np.stack([values] * n_clouds)
    return Explanation(
        values=values,
        points=tuple(rng.normal(size=(60, 3)) for _ in range(n_clouds)),
        regions=(np.arange(60) % n_regions,) * n_clouds,
        **build_sampled_fields(coalitions, values),
    )


def test_terms_of_a_sampled_explanation_are_drawn():
    explanation = make_sampled()

    regions = RegionInteractionDisplay.from_explanation(explanation, top=3).plot()
    upset = UpsetDisplay.from_explanation(explanation, top=3).plot()

    assert regions.titles[0] == "regions 3 + 17 together: +2.0"
    assert upset.members == [(3, 17), (3,), (5,)]
    np.testing.assert_allclose(upset.effects, [2.0, 1.0, -0.5], atol=1e-9)
    # Of many regions only those that take part have a row, in their order.
    rows = [label.get_text() for label in upset.axes_[1].get_yticklabels()]
    assert rows == ["3", "5", "17"]
    lines = [line.get_ydata().tolist() for line in upset.axes_[1].get_lines()]
    assert lines == [[0, 2], [0, 0], [1, 1]]


@pytest.mark.parametrize(("kind", "expected"), [("alone", [1, 0]), ("shapley", [2, 1])])
def test_heat_of_a_sampled_explanation_is_that_of_its_terms(kind, expected):
    display = RegionHeatDisplay.from_explanation(make_sampled(), kind=kind)

    np.testing.assert_allclose(display.region_values[[3, 17]], expected, atol=1e-6)


def test_curve_of_a_sampled_explanation_is_refused():
    with pytest.raises(ValueError, match="'few' is a sampled explanation"):
        StrengthByOrderDisplay.from_explanations({"few": make_sampled()})


def test_signed_strengths_below_zero_are_in_the_picture():
    explanation = make_explanation()

    display = StrengthByOrderDisplay.from_explanation(explanation, normalize="signed").plot()

    lowest = explanation.strength_by_order("signed")["strength"].min()
    assert lowest < 0 and display.ax_.get_ylim()[0] <= lowest


def test_interactive_view_has_a_trace_per_region_and_a_button_per_interaction():
    pytest.importorskip("plotly")
    explanation = make_explanation(names=["leg", "seat", "back", "arm"])

    figure = explanation.plot_3d(cloud=1, top=3)

    buttons = figure.layout.updatemenus[0].buttons
    assert [trace.name for trace in figure.data] == ["leg", "seat", "back", "arm"]
    assert sum(len(trace.x) for trace in figure.data) == 40
    assert len(buttons) == 4
    strongest = explanation.strongest(1, 1)[0]
    colors = buttons[1].args[0]["marker.color"]
    gray = [region for region in range(4) if colors[region] == "#D4D8DD"]
    assert gray == [region for region in range(4) if not strongest >> region & 1]


def test_interactive_view_is_written_as_one_page(tmp_path):
    pytest.importorskip("plotly")

    interactive_regions(make_explanation(), up="y").write_html(tmp_path / "view.html")

    assert "scatter3d" in (tmp_path / "view.html").read_text()
