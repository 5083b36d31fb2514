"""What features tell of classes: linear classifier, prototypes of few clouds, retrieval."""

from typing import Any

import numpy as np

from pointinteract.protocols._readout import make_probe, unit_rows

__all__ = ["average_precision", "neighbor_purity", "prototype_accuracy", "score_features"]


def score_features(
    train: np.ndarray,
    y: np.ndarray,
    test: np.ndarray,
    y_test: np.ndarray,
    *,
    center: np.ndarray,
    spread: np.ndarray,
    rng: np.random.Generator,
    seed: int,
    n_shot: int,
    n_draws: int,
    n_neighbors: int,
    probe: Any,
) -> dict[str, float]:
    """Scores of features (n, D) of some classes; `center` and `spread` (D,) standardize them."""
    linear = make_probe(probe, seed).fit(train, y)
    unit, unit_test = (unit_rows((rows - center) / spread) for rows in (train, test))
    draws = [prototype_accuracy(unit, y, unit_test, y_test, n_shot, rng) for _ in range(n_draws)]
    likeness = unit_test @ unit_test.T
    return {
        "linear_probe": float(np.mean(linear.predict(test) == y_test)),
        "prototypes": float(np.mean(draws)),
        "prototypes_sd": float(np.std(draws, ddof=1)) if n_draws > 1 else float("nan"),
        "mean_average_precision": average_precision(likeness, y_test),
        "purity": neighbor_purity(likeness, y_test, n_neighbors),
    }


def prototype_accuracy(
    unit: np.ndarray,
    y: np.ndarray,
    unit_test: np.ndarray,
    y_test: np.ndarray,
    n_shot: int,
    rng: np.random.Generator,
) -> float:
    """Share of test rows whose likest prototype, the mean of `n_shot` rows, is of their class."""
    classes = np.unique(y)
    prototypes = np.stack(
        [
            unit[rng.choice(np.flatnonzero(y == name), size=n_shot, replace=False)].mean(axis=0)
            for name in classes
        ]
    )
    return float(np.mean(classes[(unit_test @ unit_rows(prototypes).T).argmax(axis=1)] == y_test))


def average_precision(likeness: np.ndarray, labels: np.ndarray) -> float:
    """Mean average precision: every row of `likeness` (n, n) ranks all others.

    The precision of a ranking down to each relevant one, averaged over the relevant ones. Rows
    that are alone in their class ask for nothing and are left out.
    """
    hits = _relevance_by_rank(likeness, labels)
    precision = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    relevant = hits.sum(axis=1)
    asked = relevant > 0
    return float(((precision * hits).sum(axis=1)[asked] / relevant[asked]).mean())


def neighbor_purity(likeness: np.ndarray, labels: np.ndarray, n_neighbors: int) -> float:
    """Mean share of the `n_neighbors` likest others (all, if fewer) that are of one's class."""
    return float(_relevance_by_rank(likeness, labels)[:, :n_neighbors].mean())


def _relevance_by_rank(likeness: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether the others are of the row's class, likest first, (n, n - 1)."""
    without_itself = likeness.copy()
    np.fill_diagonal(without_itself, -np.inf)
    order = np.argsort(-without_itself, axis=1, kind="stable")[:, :-1]
    return labels[order] == labels[:, None]
