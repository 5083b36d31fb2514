"""FewShotSplit: w classes, s clouds of each to learn from, q of each to be asked about."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import indexable
from sklearn.utils.validation import column_or_1d

from pointinteract.utils._params import check_int
from pointinteract.utils._random import draw_seed

__all__ = ["FewShotSplit", "rows_by_split"]

# Streams of random numbers within one fold: which classes, and of each its clouds.
_CLASSES, _SUPPORT, _QUERY = range(3)
_SPLIT_NAMES = ("train", "test")


class FewShotSplit(BaseCrossValidator):
    """Draw few-shot episodes, as a splitter of scikit-learn.

    In every fold `n_way` classes are drawn without replacement; of each class `n_shot` clouds
    are the support, from which is learned, and `n_query` other clouds the query, on which the
    score is measured. Labels stay what they are, so that any classifier of scikit-learn can be
    used (``cross_val_score(..., cv=FewShotSplit(5, 10), groups=split)``).

    The published protocol takes support from the training split of ModelNet40 and queries from
    its test split; `groups` of `split` says which cloud is of which.

    Parameters
    ----------
    n_way : int
        Classes of an episode; at least 2. More are harder to tell apart.
    n_shot : int
        Clouds of each class to learn from.
    n_query : int, default=20
        Clouds of each class to be scored on. More make the score of a fold less noisy.
    n_folds : int, default=10
        Episodes. The first ones are the same whatever the number.
    random_state : int, RandomState instance or None, default=None
        With an integer every fold is drawn from the integer and its own number alone: the same
        whenever and in whatever order it is asked for. Classes and queries do not depend on
        `n_shot`, and the clouds of fewer shots are among those of more.

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.protocols import FewShotSplit
    >>> y = np.repeat(["bed", "chair", "sofa"], 8)
    >>> split = np.tile(["train", "test"], 12)
    >>> folds = FewShotSplit(2, 3, n_query=2, n_folds=2, random_state=1)
    >>> for support, query in folds.split(y, y, groups=split):
    ...     print(y[support], set(split[support].tolist()), y[query])
    ['chair' 'chair' 'chair' 'sofa' 'sofa' 'sofa'] {'train'} ['chair' 'chair' 'sofa' 'sofa']
    ['bed' 'bed' 'bed' 'sofa' 'sofa' 'sofa'] {'train'} ['bed' 'bed' 'sofa' 'sofa']
    """

    # scikit-learn's routing of metadata passes `groups` on only where this is said.
    __metadata_request__split = {"groups": True}

    def __init__(
        self,
        n_way: int,
        n_shot: int,
        n_query: int = 20,
        n_folds: int = 10,
        *,
        random_state: Any = None,
    ):
        self.n_way = n_way
        self.n_shot = n_shot
        self.n_query = n_query
        self.n_folds = n_folds
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of episodes; the arguments are ignored."""
        return check_int("n_folds", self.n_folds)

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Draw the episodes.

        Parameters
        ----------
        X : clouds
            Only counted.
        y : array of shape (n_clouds,)
            Labels of any kind.
        groups : array of shape (n_clouds,), optional
            0 or ``"train"`` for clouds that may be support, 1 or ``"test"`` for clouds that may
            be queries. None: any cloud may be either, though never both in one fold.

        Yields
        ------
        support, query : int64 arrays of shapes (n_way * n_shot,) and (n_way * n_query,)
            Rows, class by class in the order drawn.

        Raises
        ------
        ValueError
            If there are fewer classes than `n_way`, or a class has too few clouds, whether or
            not a fold would draw it; the first such classes are named.
        """
        self._check_params()
        if y is None:
            raise ValueError("FewShotSplit draws classes and needs y, the labels; got None.")
        X, y, groups = indexable(X, y, groups)
        y = column_or_1d(y)
        classes, codes = np.unique(y, return_inverse=True)
        support_rows, query_rows = rows_by_split(groups, len(y))
        self._check_enough(classes, codes, support_rows, query_rows)
        seed = draw_seed(self.random_state)
        pools = [
            (support_rows[codes[support_rows] == code], query_rows[codes[query_rows] == code])
            for code in range(len(classes))
        ]
        shared = groups is None
        for fold in range(self.n_folds):
            yield self._draw(pools, shared, seed, fold)

    def _draw(
        self, pools: list[tuple[np.ndarray, np.ndarray]], shared: bool, seed: int, fold: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """One episode, from nothing but the seed and its number."""
        drawn = np.random.default_rng([seed, fold, _CLASSES]).permutation(len(pools))
        support, query = [], []
        for code in drawn[: self.n_way].tolist():
            for_support, for_query = pools[code]
            order = np.random.default_rng([seed, fold, _SUPPORT, code]).permutation(for_support)
            support.append(order[: self.n_shot])
            if not shared:
                rng = np.random.default_rng([seed, fold, _QUERY, code])
                order = rng.permutation(for_query)
            # From the other end, so that the queries stay where there are more shots.
            query.append(order[len(order) - self.n_query :])
        return np.concatenate(support), np.concatenate(query)

    def _check_params(self) -> None:
        check_int("n_way", self.n_way, minimum=2)
        for name in ("n_shot", "n_query", "n_folds"):
            check_int(name, getattr(self, name))

    def _check_enough(
        self,
        classes: np.ndarray,
        codes: np.ndarray,
        support_rows: np.ndarray,
        query_rows: np.ndarray,
    ) -> None:
        if len(classes) < self.n_way:
            raise ValueError(
                f"n_way={self.n_way} classes are to be drawn, and y has only {len(classes)}: "
                f"{_listed(classes)}."
            )
        if support_rows is query_rows:
            self._check_counts(
                classes, codes, support_rows, self.n_shot + self.n_query,
                f"support and queries together (n_shot={self.n_shot}, n_query={self.n_query})",
            )
            return
        self._check_counts(
            classes, codes, support_rows, self.n_shot, f"support (n_shot={self.n_shot})"
        )
        self._check_counts(
            classes, codes, query_rows, self.n_query, f"queries (n_query={self.n_query})"
        )

    def _check_counts(
        self, classes: np.ndarray, codes: np.ndarray, rows: np.ndarray, wanted: int, what: str
    ) -> None:
        counts = np.bincount(codes[rows], minlength=len(classes))
        few = np.flatnonzero(counts < wanted)
        if len(few):
            names = classes.tolist()
            found = ", ".join(f"{names[i]!r} has {counts[i]}" for i in few[:5])
            more = f" and {len(few) - 5} more classes" if len(few) > 5 else ""
            raise ValueError(
                f"every class needs {wanted} clouds for {what}, but {found}{more}. Ask for "
                "fewer, or leave these classes out of X and y."
            )


def rows_by_split(groups: Any, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows that may be support and rows that may be queries; without groups one array, twice."""
    if groups is None:
        rows = np.arange(n_rows)
        return rows, rows
    values = column_or_1d(groups)
    if len(values) != n_rows:
        raise ValueError(f"groups has {len(values)} entries for {n_rows} clouds.")
    if values.dtype.kind in "USO":
        named = [str(value) for value in values]
        wrong = sorted(set(named) - set(_SPLIT_NAMES))
        is_query = np.array(named) == _SPLIT_NAMES[1]
    else:
        wrong = [value for value in np.unique(values).tolist() if value not in (0, 1)]
        is_query = values == 1
    if wrong:
        raise ValueError(
            "groups says which clouds may be support (0 or 'train') and which queries (1 or "
            f"'test'); got {wrong[:5]}."
        )
    return np.flatnonzero(~is_query), np.flatnonzero(is_query)


def _listed(classes: np.ndarray) -> str:
    shown = ", ".join(repr(value) for value in classes[:10].tolist())
    return shown + (", ..." if len(classes) > 10 else "")
