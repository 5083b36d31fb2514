"""The later sections of the demo's report: answers explained, and how all was done."""

import platform
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn
import torch

from pointinteract._version import __version__
from pointinteract.cli._figures import draw_answer, draw_orders
from pointinteract.cli._page import code, listing, note, paragraph, picture, section, table
from pointinteract.cli._verdict import compare_orders, describe_answer, name_of
from pointinteract.cli._viewer import viewer_cloud, viewer_html
from pointinteract.explanation import Explanation

if TYPE_CHECKING:
    from pointinteract.cli._demo import DemoResult

N_RIGHT_SHOWN = 3


def why_this_answer(
    anchor: str, title: str, result: "DemoResult", pyplot: Any, up: str
) -> str:
    explanation = result.explanations["fine_tuned"]
    right = np.flatnonzero(np.asarray(explanation.correct))[:N_RIGHT_SHOWN]
    chosen: list[tuple[str, Explanation, str]] = []
    for cloud in right:
        one = explanation[int(cloud)]
        name = name_of(one, "targets")
        chosen.append((name, one, f"Why does the network call this a {name}? (It is one.)"))
    if result.wrong is not None:
        one = result.wrong
        said, true = name_of(one, "targets"), name_of(one, "labels")
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
            f"halves of their points; order {n_regions} is left out, since each cloud has but one "
            "effect of it.",
        ),
        paragraph(compare_orders(curves["pre-trained"], curves["from scratch"])),
        note(
            "Read with care. The dotted line is what a network would give that answers at "
            "random: noise too looks like strong high orders, because an interaction of order m "
            "adds and subtracts 2^m answers. Where a curve lies near that line, or where effects "
            "do not come back with other points of the same object (right: order 1 "
            f"{number(repeat.iloc[0])}, order {n_regions - 1} {number(repeat.iloc[-1])}), it says "
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


def number(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
