"""The version, as one literal, so that a clone without tags builds too."""

__version__ = "0.1.0"
