"""Trees of plain values as JSON and arrays; `persistence` tests the kinds one by one."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointinteract.exceptions import FileFormatError
from pointinteract.utils._plain import PlainReader, PlainWriter

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


def there_and_back(value):
    writer = PlainWriter()
    text = json.dumps(writer.encode(value, "value"), allow_nan=False)
    return PlainReader(writer.arrays).decode(json.loads(text), "value")


@settings(max_examples=60, deadline=None)
@given(TREES)
def test_trees_come_back(tree):
    assert there_and_back(tree) == tree


def test_arrays_inside_tables_inside_dictionaries_come_back():
    table = pd.DataFrame({"order": [1, 2], "kappa": np.array([0.5, 0.25], dtype=np.float32)})

    back = there_and_back({"tables": [table], "size": (np.arange(3),)})

    pd.testing.assert_frame_equal(back["tables"][0], table)
    np.testing.assert_array_equal(back["size"][0], np.arange(3))


def test_a_dictionary_cannot_pass_for_another_kind():
    assert there_and_back({"array": 0}) == {"array": 0}


def test_refusal_names_the_way_to_the_value():
    with pytest.raises(TypeError, match=r"model\['head'\]\[1\] cannot be saved"):
        PlainWriter().encode({"head": [1, object()]}, "model")


@pytest.mark.parametrize("node", [{}, {"a": 1}, {"array": 0, "tuple": []}, {"array": True}])
def test_unknown_node_is_refused(node):
    with pytest.raises(FileFormatError, match="model"):
        PlainReader([]).decode(node, "model")
