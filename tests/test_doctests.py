"""The examples in docstrings do what they say."""

import doctest
import importlib
import pkgutil
import warnings

import pytest

import pointinteract

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_with_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for found in pkgutil.walk_packages(pointinteract.__path__, "pointinteract."):
        if not found.name.endswith("__main__"):
            module = importlib.import_module(found.name)
            for test in finder.find(module, found.name):
                if test.examples:
                    yield test


@pytest.mark.parametrize("example", list(modules_with_examples()), ids=lambda test: test.name)
def test_example_in_docstring(example):
    said = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner.run(example, out=said.append)

    assert not runner.failures, "".join(said)
