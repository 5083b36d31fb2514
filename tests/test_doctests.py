"""The examples in docstrings do what they say."""

import doctest
import importlib
import warnings
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "pointinteract"
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_with_examples():
    # By their text, so that a module which cannot be imported fails alone.
    for path in sorted(FOLDER.rglob("*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            words = path.relative_to(FOLDER.parent).with_suffix("").parts
            yield ".".join(word for word in words if word != "__init__")


@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_examples_in_docstrings(name):
    module = importlib.import_module(name)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        failed, tried = doctest.testmod(module, optionflags=OPTIONS)

    assert tried
    assert not failed
