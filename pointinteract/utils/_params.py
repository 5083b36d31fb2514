"""Small checks of parameters, called at the start of `fit` or of a function.

Each raises with the parameter's name, what would be right and what came.
"""

from collections.abc import Collection
from numbers import Integral, Real
from typing import Any


def check_int(name: str, value: Any, *, minimum: int = 1, maximum: int | None = None) -> int:
    """Return `value` as an int, or raise if it is not one within the bounds."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r} ({type(value).__name__}).")
    number = int(value)
    if number < minimum or (maximum is not None and number > maximum):
        bounds = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise ValueError(f"{name} must be {bounds}, got {value!r}.")
    return number


def check_real(
    name: str,
    value: Any,
    *,
    minimum: float = 0.0,
    maximum: float = float("inf"),
    open_minimum: bool = False,
    open_maximum: bool = False,
) -> float:
    """Return `value` as a float, or raise if it is not one within the bounds."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__}).")
    number = float(value)
    low = number > minimum if open_minimum else number >= minimum
    high = number < maximum if open_maximum else number <= maximum
    if not (low and high):
        left, right = "(" if open_minimum else "[", ")" if open_maximum else "]"
        raise ValueError(f"{name} must be in {left}{minimum}, {maximum}{right}, got {value!r}.")
    return number


def check_option(name: str, value: Any, options: Collection[Any]) -> Any:
    """Return `value` if it is one of `options`, or raise naming them all."""
    if not isinstance(value, bool) and value in options:
        return value
    if any(value is option for option in options):
        return value
    listed = ", ".join(repr(option) for option in options)
    raise ValueError(f"{name} must be one of {listed}; got {value!r}.")
