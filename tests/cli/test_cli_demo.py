"""The demo's measurements, and its report: whole, honest, and safe with hostile names."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from pointinteract.cli import main
from pointinteract.cli._console import Console
from pointinteract.cli._data import CloudSet
from pointinteract.cli._demo import measure_demo
from pointinteract.cli._demo_data import (
    DemoSettings,
    draw_few,
    epochs_for,
    keep_common_classes,
    read_demo_data,
    split_clouds,
    thin_clouds,
)
from pointinteract.cli._figures import plot_safe, region_shares
from pointinteract.cli._report import write_report
from pointinteract.cli._verdict import compare_answers, most_confused, paired_difference
from pointinteract.explanation import InteractionExplainer

TINY = DemoSettings(
    n_train=24, n_test=12, n_points=48, pretrain_steps=2, n_labeled=12, labels_per_class=2,
    train_steps=2, n_regions=4, n_explained=3, n_resampled=1,
)  # fmt: skip
HOSTILE = ["<script>alert(1)</script>", "</script><img src=http://evil.example/x>", "$\\frac{"]


class Page(HTMLParser):
    """Tags with their attributes, and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The text of a report on hostile class names, and the result that it tells."""
    folder = tmp_path_factory.mktemp("demo")
    rng = np.random.default_rng(0)
    points = rng.normal(size=(36, 48, 3)) * (1 + np.arange(36) % 3)[:, None, None] ** [0, 1, 2]
    np.savez(
        folder / "clouds.npz",
        points=points.astype(np.float32), label=np.arange(36) % 3, class_names=HOSTILE,
    )
    result = measure_demo(str(folder / "clouds.npz"), TINY, 0, Console(quiet=True))
    write_report(folder / "report.html", result)
    return (folder / "report.html").read_text(encoding="utf-8"), result


def test_report_refers_to_nothing_outside_itself(report):
    text, _ = report
    page = Page(text)

    # The hostile names hold an address; as text it may stand there, as a reference it may not.
    references = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster")
    ]
    assert references
    assert all(value.startswith(("data:", "#")) for value in references)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp|import\(", text)
    assert {attributes.get("src") for attributes in page.named("script")} == {None}


def test_every_picture_decodes(report):
    image = pytest.importorskip("PIL.Image")
    pictures = Page(report[0]).named("img")

    assert len(pictures) >= 6
    for attributes in pictures:
        head, data = attributes["src"].split(",", 1)
        assert head == "data:image/png;base64"
        drawn = image.open(io.BytesIO(base64.b64decode(data)))
        drawn.load()
        assert drawn.width > 300 and attributes["alt"]
        assert int(attributes["width"]) <= 1030  # no wider than the text on a laptop


def test_hostile_names_stay_text(report):
    text, _ = report
    page = Page(text)

    assert all(name in "".join(page.words) for name in HOSTILE[:2])
    assert not any("evil" in str(attributes.get("src")) for _, attributes in page.tags)
    assert len(page.named("script")) == 2  # the viewer's data, and the viewer
    assert "<script>alert" not in text


def test_viewer_data_is_whole(report):
    text, result = report
    found = re.search(r'id="viewer-data">(.*?)</script>', text, re.DOTALL)

    clouds = json.loads(found[1])

    assert clouds
    for cloud in clouds:
        assert len(cloud["points"]) == 3 * len(cloud["regions"]) == 3 * 48
        assert max(abs(value) for value in cloud["points"]) <= 1000
        assert max(cloud["regions"]) < len(cloud["palette"]) == TINY.n_regions
        assert all(set(effect["members"]) <= set(range(4)) for effect in cloud["effects"])


def test_report_tells_the_numbers_and_how_sure_they_are(report):
    text, result = report
    words = " ".join(Page(text).words)

    accuracy = result.accuracies["fine_tuned"]
    assert f"{accuracy.n_right} of {accuracy.n}; likely between" in words
    assert "Wilson" in words and "One run" in words
    assert "were held back for the test" in words
    assert "pure noise" in text or "noise too looks like" in words
    for title in ("What happened", "The data", "Few labels", "Confusion", "Why this answer",
                  "Strength by order", "How to do this yourself", "How it was measured"):
        assert f"<h2>{title}</h2>" in text


def test_both_networks_are_explained_on_the_same_regions(report):
    first, second = report[1].explanations.values()

    assert first.n_clouds == second.n_clouds == TINY.n_explained
    for one, other in zip(first.regions, second.regions, strict=True):
        np.testing.assert_array_equal(one, other)


def test_same_seed_same_numbers(report, tmp_path):
    first = report[1]
    again = measure_demo(first.data.source, TINY, 0, Console(quiet=True))

    assert again.accuracies == first.accuracies
    np.testing.assert_array_equal(
        again.explanations["fine_tuned"].values, first.explanations["fine_tuned"].values
    )


def test_demo_command_on_built_in_shapes(tmp_path, monkeypatch, capsys):
    from pointinteract.cli import _demo

    # The page itself is looked at above; here only that the command comes to it.
    monkeypatch.setattr(_demo, "QUICK", TINY)
    monkeypatch.setattr(_demo, "write_report", lambda path, result: path.write_text(
        f"{result.command}, {result.settings.up} up, {result.data.part_names[0]}"
    ))
    output = tmp_path / "report.html"

    code = main(["demo", "--quick", "--up", "y", "-o", str(output)])

    answer = capsys.readouterr()
    assert code == 0
    assert answer.out.splitlines()[-1] == f"Report: {output}"
    assert "from scratch, 20 labels" in answer.out
    assert "[6/6]" in answer.err
    assert output.read_text() == "pointinteract demo --quick --up y, y up, seat"


def labeled(counts, split=None):
    labels = np.repeat([name for name in counts], list(counts.values()))
    clouds = np.zeros((len(labels), 4, 3), dtype=np.float32)
    return CloudSet(clouds, labels, split)


def test_split_is_within_classes_and_said():
    notes = []

    train, test = split_clouds(labeled({"a": 10, "b": 4, "c": 1}), np.random.default_rng(0), notes)

    assert sorted(test.labels) == ["a"] * 3 + ["b"]
    assert len(train) == 11
    assert "4 of 15 clouds" in notes[0]


def test_named_split_is_kept():
    split = np.array(["train", "val", "test", "train"])

    train, test = split_clouds(labeled({"a": 4}, split), np.random.default_rng(0), [])

    assert len(train) == 2 and len(test) == 1


def test_classes_without_test_clouds_are_left_out_and_said():
    notes = []

    train, test = keep_common_classes(
        labeled({"a": 2, "b": 2, "c": 1}), labeled({"a": 1, "b": 1}), notes
    )

    assert set(train.labels) == set(test.labels) == {"a", "b"}
    assert notes == [
        "Left out, because there are not both training and test clouds of them: c."
    ]


def test_big_data_are_thinned_and_said(tmp_path):
    np.savez(
        tmp_path / "big.npz", points=np.ones((100, 4, 3), np.float32), label=np.arange(100) % 2
    )

    data = read_demo_data(str(tmp_path / "big.npz"), TINY, 0)

    assert len(data.train) == TINY.n_train and len(data.test) == TINY.n_test
    assert any("24 drawn at random" in note for note in data.notes)


def test_clouds_of_many_points_are_thinned_and_said():
    notes = []
    clouds = [np.zeros((9000, 3), np.float32), np.zeros((30, 3), np.float32)]

    thinned = thin_clouds(CloudSet(clouds), np.random.default_rng(0), notes)

    assert [len(cloud) for cloud in thinned.clouds] == [4096, 30]
    assert "4,096" in notes[0]


def test_few_labels_are_equally_many():
    labels = np.array(["a"] * 9 + ["b"] * 9 + ["c"])

    rows = draw_few(labels, TINY, np.random.default_rng(0))

    assert sorted(labels[rows]) == list("aabbc")


def test_small_data_are_gone_over_more_often():
    assert epochs_for(1500, 800, 16) == 30
    assert epochs_for(1500, 300, 16) == 79
    assert epochs_for(1500, 10, 16) == 100
    assert epochs_for(1, 800, 16) == 1


@pytest.mark.parametrize(
    ("n_gained", "n_lost", "words"),
    [(30, 5, "gained 25.0 points"), (5, 30, "cost 25.0 points"), (6, 5, "no clear difference")],
)
def test_verdict_follows_the_numbers(n_gained, n_lost, words):
    labels = np.full(100, "a")
    first, second = labels.copy(), labels.copy()
    second[:n_gained] = "b"
    first[n_gained : n_gained + n_lost] = "b"

    assert words in compare_answers(labels, first, second, "here", "it")


def test_paired_interval_holds_the_difference_and_never_collapses():
    labels = np.full(50, "a")

    difference, low, high = paired_difference(labels, labels, labels)

    assert difference == 0
    assert low < 0 < high


def test_most_confused_names_the_commonest():
    labels, answers = np.array(list("aaabbb")), np.array(list("bbaabb"))

    assert most_confused(labels, answers).startswith("3 of 6 are wrong. The commonest: a called b")
    assert most_confused(labels, labels) == "There is no error to name."


def test_region_shares_sum_to_the_whole():
    explainer = InteractionExplainer(n_regions=4)
    cloud = np.random.default_rng(0).normal(size=(1, 32, 3))

    explanation = explainer.explain(lambda points: np.abs(points).max(axis=1), cloud)

    total = explanation.values[0, -1] - explanation.values[0, 0]
    assert region_shares(explanation, 0).sum() == pytest.approx(total)


def test_plot_safe_names():
    assert plot_safe("a$b$") == r"a\$b\$"
    assert plot_safe("two\nlines\t\x00") == "two lines"
    assert len(plot_safe("x " * 99)) <= 24
    assert plot_safe("  ") == "?"
