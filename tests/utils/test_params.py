"""Parameters are checked with a message that names them and what came."""

import numpy as np
import pytest

from pointinteract.utils._params import check_int, check_option, check_real


@pytest.mark.parametrize("value", [1, 5, np.int64(5)])
def test_integers_within_bounds_pass(value):
    assert check_int("n_points", value, maximum=5) == value


@pytest.mark.parametrize("value", [0, 6, -1])
def test_integers_outside_are_refused(value):
    with pytest.raises(ValueError, match=f"n_points must be from 1 to 5, got {value}"):
        check_int("n_points", value, maximum=5)


@pytest.mark.parametrize("value", [True, 1.0, "3", None, np.float64(2)])
def test_other_types_are_no_integers(value):
    with pytest.raises(TypeError, match="n_points must be an integer"):
        check_int("n_points", value)


@pytest.mark.parametrize("value", [0, 0.5, np.float32(0.25), 1])
def test_numbers_within_bounds_pass(value):
    assert check_real("share", value, maximum=1) == value


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan"), float("inf")])
def test_numbers_outside_are_refused(value):
    with pytest.raises(ValueError, match="share must be in"):
        check_real("share", value, maximum=1)


def test_open_bounds_leave_out_their_ends():
    with pytest.raises(ValueError, match=r"share must be in \(0.0, 1.0\)"):
        check_real("share", 0, maximum=1.0, open_minimum=True, open_maximum=True)
    with pytest.raises(ValueError, match="got 1"):
        check_real("share", 1, maximum=1.0, open_maximum=True)


@pytest.mark.parametrize("value", [True, "0.5", None, 1j])
def test_other_types_are_no_numbers(value):
    with pytest.raises(TypeError, match="share must be a number"):
        check_real("share", value)


def test_options_are_named_in_the_message():
    assert check_option("mask", "rand", ["rand", "block"]) == "rand"
    assert check_option("early_stopping", True, [True, False]) is True
    with pytest.raises(ValueError, match="mask must be one of 'rand', 'block'; got 'all'"):
        check_option("mask", "all", ["rand", "block"])


def test_true_is_not_the_option_one():
    with pytest.raises(ValueError, match="norm must be one of 1, 2; got True"):
        check_option("norm", True, [1, 2])
