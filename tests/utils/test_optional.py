"""What is optional is imported, or the extra that brings it is named."""

import json

import pytest

from pointinteract.utils._optional import import_optional


def test_present_module_is_returned():
    assert import_optional("json", extra="io", purpose="reading") is json


def test_absent_module_names_its_extra():
    with pytest.raises(ImportError, match=r'pip install "pointinteract\[io\]"') as caught:
        import_optional("surely_absent.part", extra="io", purpose="reading .h5 files")

    assert "surely_absent is needed for reading .h5 files" in str(caught.value)
