"""What the user guide shows as Python at a prompt does what it says, and names every network."""

import doctest
import re
from pathlib import Path

import pytest

from pointinteract import list_models

GUIDE = Path(__file__).resolve().parent.parent / "doc" / "user_guide"
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize(
    "page", ["datasets.rst", "networks.rst", "protocols.rst", "seeing.rst", "segmentation.rst"]
)
def test_examples_of_the_guide(page):
    failed, tried = doctest.testfile(
        str(GUIDE / page), module_relative=False, optionflags=OPTIONS, encoding="utf-8"
    )

    assert tried
    assert not failed


def test_every_network_is_compared():
    rows = re.findall(r"^    \* - ``(\w+)``$", (GUIDE / "networks.rst").read_text("utf-8"), re.M)

    # ReCon, which is made for pre-training, has a page of its own.
    named = [name for name in list_models() if not name.startswith("recon")]
    assert sorted(rows) == named, "the table of doc/user_guide/networks.rst has a row for each"
