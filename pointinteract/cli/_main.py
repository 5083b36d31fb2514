"""Run one command; turn what goes wrong into one clear line and an exit code."""

import os
import sys
import traceback
import warnings
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from pointinteract.cli._console import Console
from pointinteract.cli._parser import make_parser

__all__ = ["main"]

# Exit codes; argparse itself uses 2 for a command line that it cannot read.
DONE, FAILED, INTERNAL, INTERRUPTED = 0, 1, 70, 130
# What users cause: wrong data, files, parameters, or a missing extra.
USER_ERRORS = (ValueError, TypeError, OSError, ImportError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        What follows the program's name; taken from the process if left out.

    Returns
    -------
    code : int
        0 done; 1 the data, a file or a parameter is wrong; 2 the command line cannot be read;
        70 a fault of this package; 130 stopped by Ctrl-C.
    """
    parser = make_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:  # --help, --version and unreadable command lines end here
        return int(stop.code or 0)
    console = Console(quiet=args.quiet)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = console.show_warning
            return run_command(args, console)
    except KeyboardInterrupt:
        console.error("stopped by Ctrl-C; nothing was saved beyond what is named above.")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except USER_ERRORS as error:
        complain(console, args, error)
        return FAILED
    except Exception as error:
        complain(console, args, error)
        return INTERNAL


def run_command(args: Namespace, console: Console) -> int:
    """Import the module of a command only now, so that ``--help`` does not wait for torch."""
    # Threads of torch that wait by spinning make a small network 17 times slower as soon as
    # another program wants a core. Read when torch is loaded; what the user set is kept.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    module_name, function_name = args.run.split(":")
    command: Any = getattr(import_module(module_name), function_name)
    return command(args, console)


def complain(console: Console, args: Namespace, error: Exception) -> None:
    """One line on stderr, and the traceback before it if ``--debug`` asks."""
    if args.debug:
        console.write_error("".join(traceback.format_exception(error)))
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.filename and error.strerror:
        text = f"{error.filename}: {error.strerror}."
    if isinstance(error, USER_ERRORS):
        console.error(text)
        return
    hint = "" if args.debug else " Add --debug to see where."
    console.error(f"unexpected {type(error).__name__}: {text}.{hint}")
