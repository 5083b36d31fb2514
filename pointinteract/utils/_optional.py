"""Import what is optional, or say which extra brings it."""

import importlib
from types import ModuleType


def import_optional(name: str, *, extra: str, purpose: str) -> ModuleType:
    """Import module `name`, or raise an ImportError that says how to get it.

    Parameters
    ----------
    name : str
        Module to import, for example ``"h5py"``.
    extra : str
        The extra of this package that installs it, for example ``"io"``.
    purpose : str
        What it is needed for, as the object of "needed for": ``"reading .h5 files"``.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{name.split('.')[0]} is needed for {purpose} and is not installed. "
            f'Install it with: pip install "pointinteract[{extra}]"'
        ) from error
