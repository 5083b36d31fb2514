"""What a protocol raises for an estimator of a kind that it says nothing about."""

__all__ = ["NotApplicableError"]


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
