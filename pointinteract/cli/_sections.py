"""The sections of the demo's report, in words for somebody who has not read the papers."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pointinteract.cli._data import Accuracy
from pointinteract.cli._figures import (
    MAX_GRID,
    draw_bars,
    draw_confusion,
    draw_examples,
    draw_rebuilt,
)
from pointinteract.cli._page import (
    card,
    note,
    paragraph,
    picture,
    section,
    table,
)
from pointinteract.cli._verdict import (
    compare_answers,
    most_confused,
)

if TYPE_CHECKING:
    from pointinteract.cli._demo import DemoResult

PRETRAINED, SCRATCH, UNTRAINED = "#0072B2", "#D55E00", "#9AA3AD"


def what_happened(
    anchor: str, title: str, result: "DemoResult", pyplot: Any, up: str
) -> str:
    data, accuracies = result.data, result.accuracies
    n_few, n_train, n_test = len(data.few), len(data.train), len(data.test)
    return section(
        anchor, title,
        paragraph(
            f"A network was shown {n_train:,} point clouds and not told what they are. It learned "
            "by filling in hidden parts, and by guessing what each cloud looks like from outside. "
            f"Only then was it told the names of {n_few} of them, {per_class(result)}, and had to "
            f"name {n_test:,} clouds that it had never seen."
        ),
        '<div class="cards">',
        card(percent(accuracies["fine_tuned"]),
             f"named correctly by the pre-trained network after {n_few} labels",
             interval(accuracies["fine_tuned"]), main=True),
        card(percent(accuracies["scratch"]),
             "by the same network without pre-training, from the same labels",
             interval(accuracies["scratch"])),
        card(percent(accuracies["frozen"]),
             "by a linear rule on what the network had learned before it saw any label "
             f"(the rule sees all {n_train:,} labels)",
             interval(accuracies["frozen"])),
        card(percent(accuracies["random"]),
             "by the same rule on an untrained network",
             interval(accuracies["random"])),
        "</div>",
        paragraph(f"Guessing would be right {chance(result):.0%} of the time."),
        paragraph(compare_answers(
            data.test.labels, result.answers["fine_tuned"], result.answers["scratch"],
            f"with {n_few} labels", "pre-training",
        )),
        paragraph(compare_answers(
            data.test.labels, result.answers["frozen"], result.answers["random"],
            "with a linear rule and all labels", "pre-training",
        )),
        note(
            "One run, with one random start and one draw of the labeled clouds. The intervals "
            f"(Wilson, 95 %) say how far the numbers may be off because only {n_test:,} test "
            "clouds were tried; another start or other labeled clouds can move them further."
        ),
    )


def the_data(anchor: str, title: str, result: "DemoResult", pyplot: Any, up: str) -> str:
    data = result.data
    firsts = [int(np.flatnonzero(data.train.labels == name)[0]) for name in data.classes]
    more = len(firsts) - MAX_GRID
    shown = data.train.take(np.array(firsts[:MAX_GRID]))
    names, counts = np.unique(data.train.labels, return_counts=True)
    spread = f"{counts.min()}" if counts.min() == counts.max() else (
        f"{counts.min()} ({names[counts.argmin()]}) to {counts.max()} ({names[counts.argmax()]})"
    )
    return section(
        anchor, title,
        paragraph(
            "A point cloud is a list of positions on the surface of an object, as a laser scanner "
            f"gives them: no faces, no colors, no order. Here are {len(shown)} of the "
            f"{len(data.train):,} training clouds, one of each class"
            + (f" (and {more} more classes)" if more > 0 else "") + "."
        ),
        picture(
            draw_examples(shown.clouds, shown.labels.tolist(), up=up),
            f"Examples of {', '.join(shown.labels)}",
            caption=f"Training clouds of each class: {spread}. Each cloud is moved to the middle "
            "and scaled to the same size before the network sees it, and at "
            f"most {result.settings.n_points} points of it, evenly spread, are what it sees.",
        ),
        *(note(text) for text in data.notes),
    )


def learned_without_labels(
    anchor: str, title: str, result: "DemoResult", pyplot: Any, up: str
) -> str:
    rebuilt = result.rebuilt
    hidden = result.pretrainer.mask_ratio
    history = result.pretrainer.history_["reconstruction"]
    return section(
        anchor, "What the network learned without labels",
        paragraph(
            "Each cloud is cut into small patches and most of them are hidden. The network sees "
            "the rest and has to add what is missing; to do that it must find out how objects "
            "are built. These test clouds it has never seen, with "
            f"{hidden:.0%} of the patches hidden:"
        ),
        picture(
            draw_rebuilt(rebuilt, pyplot, up=up),
            "Three clouds: shown part, part added by the network, and the truth",
            caption="The network knows where the hidden patches lie, but not what they look "
            "like. Rebuilt patches are blurred: after a few minutes it has learned the rough "
            "form, not the detail.",
        ),
        paragraph(
            f"Over {len(history)} passes the error of the rebuilt patches fell from "
            f"{history.iloc[0]:.3f} to {history.iloc[-1]:.3f} (squared distance to the nearest "
            "point, both ways, mean over each pass; objects have radius 1)."
        ),
    )


def few_labels(anchor: str, title: str, result: "DemoResult", pyplot: Any, up: str) -> str:
    accuracies, n_few = result.accuracies, len(result.data.few)
    rows = [
        ("from scratch", accuracies["scratch"], SCRATCH),
        ("pre-trained, then fine-tuned", accuracies["fine_tuned"], PRETRAINED),
        ("pre-trained and frozen, linear rule", accuracies["frozen_few"], PRETRAINED),
        ("untrained and frozen, linear rule", accuracies["random_few"], UNTRAINED),
    ]
    lines = [(text, percent(accuracy), interval(accuracy)) for text, accuracy, _ in rows]
    return section(
        anchor, title,
        paragraph(
            f"All four ways below see the same {n_few} labels ({per_class(result)}) and are "
            f"tested on the same {len(result.data.test):,} clouds. Fine-tuned: the whole network "
            "goes on learning. Frozen: the network stays as it is, and a straight line (a linear "
            "support vector machine) separates the classes in what it computes."
        ),
        picture(
            draw_bars(rows, chance(result), pyplot),
            "; ".join(f"{text}: {value}" for text, value, _ in lines),
        ),
        table(("way", "correct", "how sure"), lines),
        paragraph(compare_answers(
            result.data.test.labels, result.answers["frozen_few"], result.answers["random_few"],
            f"with a linear rule and {n_few} labels", "pre-training",
        )),
        paragraph(
            "Even an untrained network is not nothing: it computes fixed random summaries of "
            "the cloud, and a linear rule can use them. That is why it stands here as a yardstick."
        ),
    )


def confusion(anchor: str, title: str, result: "DemoResult", pyplot: Any, up: str) -> str:
    data, answers = result.data, result.answers["fine_tuned"]
    return section(
        anchor, title,
        paragraph(
            "What the fine-tuned network called the test clouds. Each row is what the clouds are, "
            "each column what it said; right answers lie on the diagonal."
        ),
        picture(
            draw_confusion(data.test.labels, answers, data.classes, pyplot),
            "Confusion matrix of the fine-tuned network",
        ),
        paragraph(most_confused(data.test.labels, answers)),
    )


def per_class(result: "DemoResult") -> str:
    """How many labels of each class, in words."""
    counts = np.unique(result.data.train.labels[result.data.few], return_counts=True)[1]
    if counts.min() == counts.max():
        return f"{counts[0]} of each class"
    return f"{counts.min()} to {counts.max()} of each class"


def chance(result: "DemoResult") -> float:
    """Share that always naming the commonest class gets right."""
    counts = np.unique(result.data.test.labels, return_counts=True)[1]
    return float(counts.max() / counts.sum())


def percent(accuracy: Accuracy) -> str:
    return f"{accuracy.value:.0%}"


def interval(accuracy: Accuracy) -> str:
    """The count and the interval in words."""
    return (
        f"{accuracy.n_right} of {accuracy.n}; likely between {accuracy.low:.0%} and "
        f"{accuracy.high:.0%}"
    )
