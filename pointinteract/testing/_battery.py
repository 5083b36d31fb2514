"""Run the checks for cloud estimators: all at once, or as pytest cases."""

import functools
import unittest
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import pandas as pd
from sklearn.base import BaseEstimator

from pointinteract.testing._checks import CHECKS

Check = Callable[[BaseEstimator], None]


def check_cloud_estimator(
    estimator: BaseEstimator,
    *,
    expected_failed_checks: Mapping[str, str] | None = None,
    on_fail: Literal["raise", "record"] = "raise",
) -> pd.DataFrame:
    """Run every check on an estimator for point clouds.

    Parameters
    ----------
    estimator : estimator
        An unfitted instance, which is cloned and never fitted itself. Give it small sizes and
        few epochs: it is fitted some thirty times, on 12 clouds of 37 points.
    expected_failed_checks : dict of str to str, optional
        Names of checks that must fail, with the reason. One that passes counts as failure, so
        that the list stays true.
    on_fail : {"raise", "record"}, default="raise"
        Whether the first failure raises an AssertionError, or all are noted in the result.

    Returns
    -------
    results : DataFrame
        One row per check: `check`, `status` ("passed", "failed", "skipped", "xfail") and
        `reason`.

    Notes
    -----
    An estimator may promise less by two private attributes: ``_point_order_tolerance``, read
    after fit, by how much answers may change when points are reordered (``inf``: no promise),
    and ``_accepts_ragged = False`` if all clouds must have one size.

    See Also
    --------
    parametrize_with_cloud_checks : The same as separate pytest cases.

    Examples
    --------
    >>> from pointinteract.classification import PointClassifier
    >>> from pointinteract.testing import check_cloud_estimator, cloud_checks
    >>> cloud_checks()[0].__name__
    'check_constructor_only_stores'
    >>> results = check_cloud_estimator(
    ...     PointClassifier("pointnet", max_epochs=1)
    ... )  # doctest: +SKIP
    """
    expected = dict(expected_failed_checks or {})
    unknown = sorted(set(expected) - {check.__name__ for check in CHECKS})
    if unknown:
        raise ValueError(f"expected_failed_checks names {unknown}, which are no checks.")
    rows = []
    for check in cloud_checks():
        name = check.__name__
        error: Exception | None = None
        status, reason = "passed", ""
        try:
            check(estimator)
        except unittest.SkipTest as skip:
            status, reason = "skipped", str(skip)
        except Exception as failure:
            status, reason, error = "failed", f"{type(failure).__name__}: {failure}", failure
        if name in expected:
            if status == "failed":
                status, reason, error = "xfail", expected[name], None
            else:
                status, reason = "failed", f"{status}, but was expected to fail: {expected[name]}"
        if status == "failed" and on_fail == "raise":
            raise AssertionError(f"{type(estimator).__name__}: {name}: {reason}") from error
        rows.append({"check": name, "status": status, "reason": reason})
    return pd.DataFrame(rows)


def parametrize_with_cloud_checks(
    estimators: Iterable[BaseEstimator],
    *,
    expected_failed_checks: Callable[[BaseEstimator], Mapping[str, str]] | None = None,
) -> Any:
    """Make one pytest case of every estimator and check.

    Parameters
    ----------
    estimators : iterable of estimators
        Unfitted and small, as for `check_cloud_estimator`.
    expected_failed_checks : callable, optional
        Takes an estimator, returns a dictionary of check names to reasons; these cases are
        marked as strict expected failures.

    Returns
    -------
    decorator : pytest.MarkDecorator
        For a test function with the parameters ``estimator`` and ``check``, whose body is
        ``check(estimator)``.
    """
    import pytest

    cases = []
    for estimator in estimators:
        expected = expected_failed_checks(estimator) if expected_failed_checks else {}
        for check in cloud_checks():
            name = check.__name__
            marks = (
                [pytest.mark.xfail(reason=expected[name], strict=True)] if name in expected else []
            )
            label = f"{type(estimator).__name__}-{name}"
            cases.append(pytest.param(estimator, check, marks=marks, id=label))
    return pytest.mark.parametrize(("estimator", "check"), cases)


def cloud_checks() -> list[Check]:
    """List the checks in the order in which they run; each takes an unfitted estimator."""
    return [_quiet(check) for check in CHECKS]


def _quiet(check: Check) -> Check:
    """Silence warnings, which one epoch on twelve clouds has good reason to give."""

    @functools.wraps(check)
    def run(estimator: BaseEstimator) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check(estimator)

    return run
