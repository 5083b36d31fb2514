"""The few errors and warnings that are our own.

All errors derive from ``ValueError``, so that code written against scikit-learn's
conventions catches them without knowing this package.
"""

__all__ = [
    "CheckpointError",
    "CloudError",
    "FileFormatError",
    "PointInteractWarning",
]


class CloudError(ValueError):
    """A point cloud, or a set of them, cannot be used as it came."""


class FileFormatError(ValueError):
    """A file is truncated, of another format than its name says, or hostile."""


class CheckpointError(ValueError):
    """A checkpoint does not belong to the system, or the sizes, it was loaded as."""


class PointInteractWarning(UserWarning):
    """Something worth knowing that does not stop the work."""
