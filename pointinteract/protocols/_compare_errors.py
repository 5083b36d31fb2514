"""What protocols refuse: estimators of the wrong kind, and labels with nothing in common."""

import numpy as np

__all__ = ["NotApplicableError", "check_common_class"]


class NotApplicableError(TypeError):
    """A protocol does not apply to this kind of estimator; the message says why.

    Raised by a function that is a protocol of :func:`compare`, it is no failure there: the row
    reads "not applicable" with the message.

    Examples
    --------
    >>> from sklearn.base import is_classifier
    >>> from pointinteract.protocols import NotApplicableError
    >>> def spread_of_features(estimator, X, y, X_test, y_test, random_state=None):
    ...     if is_classifier(estimator):
    ...         raise NotApplicableError("it has no features before it has seen labels")
    ...     return float(estimator.transform(X_test).std())
    """


def check_common_class(name: str, labels: np.ndarray, whose: str, known: np.ndarray) -> None:
    """Raise if none of the labels is among the known ones: such a score of 0 says nothing."""
    here, there = sorted(set(labels.tolist())), sorted(set(known.tolist()))
    if not set(here) & set(there):
        raise ValueError(
            f"{name} has no class of {whose}: it holds {here[:5]}, {whose} {there[:5]}. Are both "
            "labels, and not names once?"
        )
