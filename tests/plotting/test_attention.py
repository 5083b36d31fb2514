"""Attention drawn on clouds: columns, colors, numbers and the ring."""

import numpy as np
import pytest

from pointinteract.models import AttentionMaps, create_model

pyplot = pytest.importorskip("matplotlib.pyplot")

from pointinteract.plotting import AttentionDisplay  # noqa: E402
from pointinteract.plotting._cloud import project  # noqa: E402


@pytest.fixture(autouse=True)
def no_window(monkeypatch):
    monkeypatch.setattr(pyplot, "show", lambda *args, **kwargs: pytest.fail("show was called"))
    yield
    pyplot.close("all")


def make_maps(queries=("class", "image", "text"), n_clouds=2):
    """Patches of two points each, four in a row; readers read one patch more than others."""
    points = np.zeros((n_clouds, 8, 3), dtype=np.float32)
    points[:, :, 1] = np.arange(8)
    read = np.full((n_clouds, 3, 4), 0.2, dtype=np.float32)
    read[:, [0, 1, 2], [0, 1, 2]] = 0.4
    return AttentionMaps(
        points=points,
        centers=points[:, ::2],
        patches=np.tile(np.arange(8).reshape(1, 4, 2), (n_clouds, 1, 1)),
        queries=queries,
        query_weights=read[:, : len(queries)],
        local_weights=np.tile(np.eye(4, dtype=np.float32), (n_clouds, 1, 1)),
        block=-1,
        head="mean",
    )


def darkest(ax):
    """Where the darkest dots are, along the cloud."""
    dots = ax.collections[0]
    light = dots.get_facecolors()[:, :3].sum(axis=1)
    places = dots.get_offsets()[:, 0]
    order = np.argsort(places)  # as the points: the picture's right is their y
    return set(np.flatnonzero(light[order] < light.min() + 0.1).tolist())


def texts(ax):
    return [text.get_text() for text in ax.texts]


FRONT = {"view": (0, 0)}  # y to the right, and every point equally far


def test_columns_are_image_text_class_and_a_patch():
    display = AttentionDisplay(make_maps()).plot(**FRONT)

    titles = [ax.get_title() for ax in display.axes_[:4]]
    assert titles == ["image query", "text query", "class query", "patch in the ring"]
    assert len(display.axes_) == 8
    assert [darkest(ax) for ax in display.axes_[:4]] == [{2, 3}, {4, 5}, {0, 1}, {0, 1}]


def test_queries_that_are_not_there_have_no_column():
    display = AttentionDisplay(make_maps(queries=("class",))).plot()

    assert len(display.axes_) == 4
    assert AttentionDisplay(make_maps(queries=()))._readers() == ("local",)


def test_numbers_say_how_far_from_even_it_is():
    display = AttentionDisplay(make_maps(), names=np.array(["a", "b"])).plot()

    assert "up to 1.6 × an even share" in texts(display.axes_[0])
    assert "up to 4.0 × an even share" in texts(display.axes_[3])
    assert "a" in texts(display.axes_[0]) and "b" in texts(display.axes_[4])


def test_ring_is_around_the_chosen_patch():
    maps = make_maps()

    display = AttentionDisplay(maps, patches=[3, 1]).plot(**FRONT)

    for ax, cloud, patch in ((display.axes_[3], 0, 3), (display.axes_[7], 1, 1)):
        place = project(maps.centers[cloud][patch][None], **FRONT)[0][0]
        np.testing.assert_allclose(ax.lines[0].get_xydata()[0], place)
        assert darkest(ax) == {2 * patch, 2 * patch + 1}
    assert not display.axes_[0].lines


def test_even_attention_is_drawn_even():
    maps = make_maps()
    maps.query_weights[:] = 0.25 + 1e-8 * np.random.default_rng(0).normal(size=(2, 3, 4))

    for least_span in (0.0, 1.0):
        display = AttentionDisplay(maps, readers=["text"], least_span=least_span).plot(**FRONT)

        assert len(np.unique(display.axes_[0].collections[0].get_facecolors(), axis=0)) == 1
    assert "up to 1.0 × an even share" in texts(display.axes_[0])


def test_nearly_even_attention_uses_few_of_the_colors():
    maps = make_maps()  # from 0.8 to 1.6 even shares

    def contrast(least_span):
        display = AttentionDisplay(maps, readers=["text"], least_span=least_span).plot(**FRONT)
        return np.ptp(display.axes_[0].collections[0].get_facecolors()[:, 0])

    assert contrast(10.0) < 0.5 * contrast(0.8)
    assert contrast(0.8) == contrast(0.0)


def test_network_is_asked(clouds):
    model = create_model("recon_nano", n_classes=2)

    display = AttentionDisplay.from_estimator(
        model, clouds[:2], block=0, head=1, readers=["class", "local"], spread="nearest"
    ).plot()

    assert (display.maps.block, display.maps.head) == (0, 1)
    assert [ax.get_title() for ax in display.axes_[:2]] == ["class query", "patch in the ring"]


def test_given_axes_are_used_and_counted():
    _, axes = pyplot.subplots(2, 4)
    display = AttentionDisplay(make_maps())

    assert display.plot(axes.ravel()).figure_ is axes[0, 0].figure
    assert display.plot(axes).axes_ == list(axes.ravel())
    with pytest.raises(ValueError, match=r"axes must be 8, 4 for each of 2 clouds; got 4\."):
        display.plot(axes[0])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"names": ["one"]}, "names must be 2, one a cloud, got 1"),
        ({"readers": ["query"]}, r"some of 'image', 'text', 'class', 'local'.*got \['query'\]"),
        ({"readers": []}, r"got \[\]"),
        ({"least_span": -1.0}, "least_span must be in"),
        ({"power": 0.0}, "power must be in"),
        ({"patches": 4}, "patches from 0 to 3, got 4"),
    ],
)
def test_wrong_wishes_are_named(asked, words):
    with pytest.raises(ValueError, match=words):
        AttentionDisplay(make_maps(), **asked).plot()
