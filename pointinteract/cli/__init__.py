"""The command line: ``pointinteract demo | pretrain | train | predict | explain | info``."""

from pointinteract.cli._main import main

__all__ = ["main"]
