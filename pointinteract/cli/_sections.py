"""The sections of the demo's report, in words for somebody who has not read the papers."""

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from pointinteract.cli._data import Accuracy
from pointinteract.cli._figures import (
    MAX_GRID,
    draw_answer,
    draw_bars,
    draw_confusion,
    draw_examples,
    draw_orders,
    draw_rebuilt,
)
from pointinteract.cli._page import (
    card,
    code,
    listing,
    note,
    paragraph,
    picture,
    section,
    table,
)
from pointinteract.cli._verdict import (
    compare_answers,
    compare_orders,
    describe_answer,
    most_confused,
)
from pointinteract.cli._viewer import viewer_cloud, viewer_html
from pointinteract.explanation import Explanation

if TYPE_CHECKING:
    from pointinteract.cli._demo import DemoResult

PRETRAINED, SCRATCH, UNTRAINED = "#0072B2", "#D55E00", "#9AA3AD"
N_RIGHT_SHOWN = 3


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
            "and scaled to the same size before the network sees it, and "
            f"{result.settings.n_points} points of it, evenly spread, are what it sees.",
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


def why_this_answer(
    anchor: str, title: str, result: "DemoResult", pyplot: Any, up: str
) -> str:
    explanation = result.explanations["fine_tuned"]
    right = np.flatnonzero(explanation.correct)[:N_RIGHT_SHOWN]
    chosen: list[tuple[str, Explanation, str]] = []
    for cloud in right:
        one = explanation[int(cloud)]
        name = one.class_name(one.targets[0])
        chosen.append((name, one, f"Why does the network call this a {name}? (It is one.)"))
    if result.wrong is not None:
        one = result.wrong
        said, true = one.class_name(one.targets[0]), one.class_name(one.labels[0])
        chosen.append((
            f"{said} (wrong)", one, f"Why does it call this a {said}? (It is a {true}.)"
        ))
    parts = [
        paragraph(
            f"Each cloud is cut into {explanation.n_regions} regions. The network is asked about "
            f"every one of the {2**explanation.n_regions:,} ways to keep some regions and take "
            "the others away (their points are moved to the middle). From these answers follows "
            "what each region does alone, and what groups of regions do only together: their "
            "interaction. A seat may say little and legs may say little, and yet a seat with legs "
            "below it may say chair. That is an interaction of two."
        ),
        paragraph(
            "Numbers are log-odds: +2.3 makes the class ten times as likely against all others, "
            "−2.3 a tenth. Blue speaks for the class, orange against it, gray takes no part. "
            "What a region adds up to is what it does alone plus its part of every group (split "
            "evenly). Groups are shown up to three regions. Larger groups have effects too, "
            f"here of up to {largest_effect(explanation)} in size, but so many, and of both "
            "signs, that nobody can read them one by one. The next section adds them up. The "
            "clouds are the first of a random draw, not chosen for beauty."
        ),
    ]
    if not chosen:
        parts.append(paragraph("The network named none of the clouds drawn correctly."))
    for _, one, question in chosen:
        parts.append(f"<h3>{escape(question)}</h3>")
        parts.append(paragraph(describe_answer(one)))
        parts.append(picture(draw_answer(one, up=up), question))
    if result.wrong is None:
        parts.append(paragraph("The network named all test clouds correctly; no error to show."))
    if chosen:
        parts.append("<h3>The same clouds, to turn around</h3>")
        parts.append(
            viewer_html([viewer_cloud(one, 0, name, up=up) for name, one, _ in chosen])
        )
    return section(anchor, title, *parts)


def strength_by_order(
    anchor: str, title: str, result: "DemoResult", pyplot: Any, up: str
) -> str:
    curves = {
        "pre-trained": result.explanations["fine_tuned"],
        "from scratch": result.explanations["scratch"],
    }
    n_clouds, n_regions = curves["pre-trained"].n_clouds, curves["pre-trained"].n_regions
    repeat = result.resampled["correlation"]
    return section(
        anchor, title,
        paragraph(
            "The order of an interaction is the number of regions in it. Low orders are local: "
            "single regions and pairs. High orders need most of the object to be there. The "
            "curve shows how strong an average interaction of each order is, as a share of all "
            "orders; bands are 95 % intervals over clouds."
        ),
        picture(
            draw_orders(curves, result.resampled, pyplot),
            "Strength of interactions by order for both networks, beside pure noise",
            caption=f"Left: mean of {n_clouds} test clouds, {n_regions} regions. Right: "
            f"correlation of the effects in {result.settings.n_resampled} clouds between two "
            f"halves of their points; the last bar rests on {result.settings.n_resampled} numbers "
            "only, one from each cloud.",
        ),
        paragraph(compare_orders(curves["pre-trained"], curves["from scratch"])),
        note(
            "Read with care. The dotted line is what a network would give that answers at "
            "random: noise too looks like strong high orders, because an interaction of order m "
            "adds and subtracts 2^m answers. Where a curve lies near that line, or where effects "
            "do not come back with other points of the same object (right: order 1 "
            f"{number(repeat.iloc[0])}, order {n_regions} {number(repeat.iloc[-1])}), it says "
            f"little about the object. And {n_clouds} clouds of one run are few: the claim of the "
            "literature that pre-training strengthens high orders can be neither confirmed nor "
            "refuted here."
        ),
    )


def do_it_yourself(
    anchor: str, title: str, result: "DemoResult", pyplot: Any, up: str
) -> str:
    n_epochs, n_regions = result.pretrainer.max_epochs, result.settings.n_regions
    return section(
        anchor, title,
        paragraph("In Python:"),
        code(f"""
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from pointinteract import InteractionExplainer, PointClassifier, ReConPretrainer
from pointinteract.datasets import make_shapes   # or load_cloud_dataset("clouds.npz")

X, y = make_shapes(return_X_y=True, random_state=0)
pre = ReConPretrainer(size="nano", max_epochs={n_epochs},
                      image_teacher="depth_descriptor", stop_gradient=False,
                      augmentation=None, random_state=0).fit(X)
svm = make_pipeline(StandardScaler(), LinearSVC()).fit(pre.transform(X), y)
clf = PointClassifier(pretrained=pre, random_state=0).fit(X[:200], y[:200])
explanation = InteractionExplainer(n_regions={n_regions}).explain(clf, X[:4], y[:4])
explanation.to_frame(top=5)
explanation.plot("regions", cloud=0)
"""),
        paragraph("On the command line, with your own labeled clouds:"),
        code("""
pointinteract demo --data clouds.npz --output clouds.html
pointinteract pretrain clouds.npz -o pretrained.npz
pointinteract train clouds.npz --pretrained pretrained.npz -o model.npz
pointinteract predict model.npz new.npz -o answers.csv
pointinteract explain model.npz new.npz -o why.npz --html why.html
"""),
    )


def how_it_was_measured(
    anchor: str, title: str, result: "DemoResult", pyplot: Any, up: str
) -> str:
    import platform

    import sklearn
    import torch

    from pointinteract._version import __version__

    classifier, scratch = result.classifiers["fine_tuned"], result.classifiers["scratch"]
    pretrainer = result.pretrainer
    n_numbers = sum(p.numel() for p in classifier.module_.parameters())
    rows = [
        ("command", result.command or "measured from Python"),
        ("seed", str(result.seed)),
        ("versions", f"pointinteract {__version__}, torch {torch.__version__}, scikit-learn "
         f"{sklearn.__version__}, numpy {np.__version__}, Python {platform.python_version()}"),
        ("machine", f"{classifier.device_}, {torch.get_num_threads()} threads of torch"),
        ("network", f"ReCon nano, {n_numbers:,} parameters as a classifier"),
        ("pre-training", f"{len(result.data.train):,} clouds, {pretrainer.max_epochs} passes, "
         f"batches of {pretrainer.batch_size}, rate {pretrainer.learning_rate:g}; beside the "
         "hidden patches it learned to predict depth pictures of the clouds"),
        ("classifiers", f"{len(result.data.few)} labels, {classifier.max_epochs} passes, batches "
         f"of {classifier.batch_size}; rate {classifier.learning_rate:g} (head "
         f"{classifier.head_factor:g} times that) for the pre-trained, {scratch.learning_rate:g} "
         "from scratch"),
        ("linear rule", "standardized features, LinearSVC(C=0.01)"),
        ("settings", "chosen on other shapes, not on these; the test clouds were used once, to "
         "measure"),
        ("processor time", f"{result.seconds.get('cpu', 0):.0f} s"),
        *((name, f"{seconds:.1f} s") for name, seconds in result.seconds.items() if name != "cpu"),
    ]
    changed = [
        "No labels of test clouds were used for anything but counting.",
        "Clouds to explain were drawn evenly over the classes before any answer was looked at.",
    ]
    return section(anchor, title, table(("what", "how"), rows), listing(changed))


def largest_effect(explanation: Explanation) -> str:
    """Size of the strongest interaction of all clouds."""
    return f"{np.abs(explanation.interactions[:, 1:]).max():.1f}"


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


def number(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:.2f}"
