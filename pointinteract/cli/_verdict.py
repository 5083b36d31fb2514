"""Sentences that follow from numbers, and say no more than they hold."""

import numpy as np

from pointinteract.cli._figures import region_shares, small_groups
from pointinteract.explanation import Explanation
from pointinteract.games.orders import order_range

Z_95 = 1.959964
# Log-odds that would be written as 0.0.
LITTLE = 0.05


def paired_difference(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[float, float, float]:
    """Accuracy of `first` less that of `second` on the same clouds, with its 95 % interval.

    Agresti and Min's version of Wald's interval for matched pairs (half a cloud is added to
    each cell), which stays sensible when the two never differ.
    """
    right, other = first == labels, second == labels
    n = len(labels) + 2.0
    gained, lost = np.sum(right & ~other) + 0.5, np.sum(other & ~right) + 0.5
    center = (gained - lost) / n
    half = Z_95 * np.sqrt(gained + lost - (gained - lost) ** 2 / n) / n
    return float(right.mean() - other.mean()), float(center - half), float(center + half)


def compare_answers(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, where: str, what: str
) -> str:
    """Whether `first` is better than `second`, and how sure that is."""
    difference, low, high = paired_difference(labels, first, second)
    points = f"{abs(difference) * 100:.1f} points"
    likely = f"(95 % interval {low * 100:+.1f} to {high * 100:+.1f} points)".replace("-", "−")
    where = where[0].upper() + where[1:]
    if low > 0:
        return f"{where}, {what} gained {points} {likely}: more than chance explains."
    if high < 0:
        return f"{where}, {what} cost {points} {likely}: here it did harm."
    direction = "higher" if difference > 0 else "lower" if difference < 0 else "different"
    return (
        f"{where}, {what} made no clear difference: {points} {direction} {likely}, which chance "
        "alone could give."
    )


def most_confused(labels: np.ndarray, answers: np.ndarray) -> str:
    """Name the commonest errors."""
    wrong = labels != answers
    if not wrong.any():
        return "There is no error to name."
    pairs, counts = np.unique(
        np.stack([labels[wrong], answers[wrong]]), axis=1, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:3]
    texts = [
        f"{pairs[0, i]} called {pairs[1, i]} ({counts[i]} of {int((labels == pairs[0, i]).sum())})"
        for i in order
    ]
    return f"{int(wrong.sum())} of {len(labels)} are wrong. The commonest: {'; '.join(texts)}."


def compare_orders(first: Explanation, second: Explanation) -> str:
    """How much of the strength lies in high orders, for both networks."""
    frame = first.compare(second)
    high = order_range(first.n_regions, "high")[0]
    a, b = first.kappa_high(), second.kappa_high()
    n_clear = int(((frame["low"] > 0) | (frame["high"] < 0)).sum())
    return (
        f"Orders of {high} and more hold {share(a)} of the strength in the pre-trained network "
        f"and {share(b)} in the one from scratch. Taken cloud by cloud, the two networks differ "
        f"clearly in {n_clear} of {len(frame)} orders."
    )


def describe_answer(explanation: Explanation) -> str:
    """Which regions and groups weigh most in the answer about one cloud."""
    shares = region_shares(explanation, 0)
    order = np.argsort(-np.abs(shares), kind="stable")
    names = [explanation.names_of(0, 1 << int(region))[0] for region in range(len(shares))]
    speak_for = [f"{names[i]} ({signed(shares[i])})" for i in order if shares[i] > LITTLE][:3]
    against = [f"{names[i]} ({signed(shares[i])})" for i in order if shares[i] < -LITTLE][:2]
    target = name_of(explanation, "targets")
    text = f"{score_word(explanation)} of {target}: {signed(explanation.values[0, -1])}. "
    text += f"For it speak most {join(speak_for)}" if speak_for else "Nothing speaks for it"
    text += f"; against it {join(against)}." if against else "; nothing speaks against it."
    groups = small_groups(explanation, 0, 1, smallest=2)
    if not groups:
        return text
    who = join(list(explanation.names_of(0, groups[0])))
    effect = signed(explanation.interactions[0, groups[0]])
    return f"{text} The strongest effect of two or three together: {who} ({effect})."


def score_word(explanation: Explanation) -> str:
    """What the numbers are: log-odds, unless something else was asked for."""
    word = str(explanation.meta.get("score", "score"))
    return "Log-odds" if word == "log_odds" else word.replace("_", " ").capitalize()


def name_of(explanation: Explanation, which: str, cloud: int = 0) -> str:
    """The class that is explained (``"targets"``), was named (``"predicted"``) or is true."""
    columns = getattr(explanation, which)
    return explanation.class_name(columns[cloud])


def join(texts: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def signed(number: float) -> str:
    """A number with its sign, and a true minus."""
    return f"{number:+.1f}".replace("-", "\N{MINUS SIGN}")


def share(estimate) -> str:
    """A share with its interval."""
    value = f"{float(estimate.value):.0%}"
    if np.isnan(np.asarray(estimate.low, dtype=float)).any():
        return value
    return f"{value} ({float(estimate.low):.0%} to {float(estimate.high):.0%})"
