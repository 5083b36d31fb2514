"""Read arrays and plain values from a pickle without unpickling: nothing in the file is called.

A pickle is a list of instructions, some of which call any function by name. Here the list is
followed by our own code, which knows the instructions that build plain values, and recognizes
the few calls by which numpy describes an array. All others are refused by name.
"""

import math
import os
import pickletools
import re
import reprlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pointinteract.exceptions import FileFormatError

# Each instruction makes at most one object, so this bounds memory beyond that of the file.
MAX_STEPS = 10_000_000
# Bytes of a scalar of Python 2 are copied twice, as text and from the array that is made of it.
COPIES = 2
# How many times the bytes of a file its arrays may take, each counted wherever it stands: whole
# numbers of one byte become four as float32, and some leave room for an array that stands twice.
MAX_UNFOLDED = 8
MAX_DIMENSIONS = 32
DTYPE = re.compile(r"(b1|[iu][1248]|f[248]|c8|c16|[SU][0-9]{1,5})")
# numpy 2 renamed the module of its functions, and writes the new name.
CORES = ("numpy.core", "numpy._core")
ARRAY = "numpy.ndarray"
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE",
    "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
KEY_TYPES = (str, int, float, bytes, type(None))
RIGHT = "Expected a pickle of lists, tuples, dictionaries, text, numbers and numpy arrays."


def load_arrays_pickle(path: str | os.PathLike[str], *, max_steps: int = MAX_STEPS) -> Any:
    """Read a pickle of plain values and numpy arrays, without running anything in it.

    Parameters
    ----------
    path : path-like
        The file, of any pickle protocol and of Python 2 or 3, numpy 1 or 2.
    max_steps : int, default=10_000_000
        The most instructions that are followed; a plain value takes two, an array about thirty.

    Returns
    -------
    content : object
        Lists, tuples, dictionaries, text, bytes, numbers, None and numpy arrays and scalars of
        numbers, booleans or text. The arrays are read-only, because they share their memory
        with what was read. Text of Python 2 is decoded as Latin-1. What the file refers to in
        many places is one object; whoever copies it asks :func:`check_unfolded` before.

    Raises
    ------
    FileFormatError
        If the file names anything else (which one, is said), is cut short or damaged, or claims
        an array that its bytes do not fill. Memory is taken only for bytes that are there.

    Examples
    --------
    >>> import pickle, tempfile, pathlib
    >>> import numpy as np
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "clouds.dat"
    >>> _ = path.write_bytes(pickle.dumps([[np.zeros((4, 3))], [7]]))
    >>> clouds, labels = load_arrays_pickle(path)
    >>> clouds[0].shape, labels
    ((4, 3), [7])
    """
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            return _Machine(COPIES * size).run(_steps(_Bounded(file, size)), max_steps)
        except _Refused as error:
            raise FileFormatError(f"{path}: {error} {RIGHT}") from None
        except Exception as error:
            # pickletools and damaged arguments raise half a dozen kinds of exception.
            raise FileFormatError(
                f"{path} is damaged, cut short or no pickle "
                f"({type(error).__name__}: {str(error)[:200]}). {RIGHT}"
            ) from error


def check_unfolded(path: str | os.PathLike[str], n_bytes: int) -> None:
    """Raise if what is about to be made of a pickle is far larger than the pickle.

    A pickle of a few bytes may refer to one array a million times, which costs nothing until
    somebody copies each of them.

    Parameters
    ----------
    path : path-like
        The pickle.
    n_bytes : int
        Of all copies together.

    Raises
    ------
    FileFormatError
    """
    size = Path(path).stat().st_size
    if n_bytes > MAX_UNFOLDED * size:
        raise FileFormatError(
            f"{path} has {size} bytes and refers to the same arrays so often that they unfold to "
            f"{n_bytes}. Expected each array once."
        )


class _Refused(Exception):
    """What the file asks for is understood, and not done."""


class _Bounded:
    """A file that never allocates for more bytes than it has left."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.tell = file.tell
        self.readline = file.readline

    def read(self, count: int) -> bytes:
        left = self.size - self.file.tell()
        if not 0 <= count <= left:
            raise EOFError(f"{count} bytes are announced and {left} are left")
        return self.file.read(count)


def _steps(file: _Bounded) -> Iterator[tuple[str, Any]]:
    if file.size == 0:
        raise EOFError("the file is empty")
    for opcode, argument, _ in pickletools.genops(file):  # type: ignore[arg-type]
        yield opcode.name, argument


class _Name:
    """A name that the file wants to call, never resolved."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Unfinished:
    """An array or dtype of which the state is still to come."""

    def __init__(self, finish: Callable[[Any], Any]) -> None:
        self.finish = finish
        self.memo_keys: list[int] = []


class _Machine:
    """The stack, the marks and the memory of one run, in which `n_bytes` may be copied."""

    def __init__(self, n_bytes: int) -> None:
        self.n_bytes = n_bytes
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, steps: Iterator[tuple[str, Any]], max_steps: int) -> Any:
        for count, (name, argument) in enumerate(steps):
            if count >= max_steps:
                raise _Refused(f"it has more than {max_steps} instructions.")
            if name == "STOP":
                value = self._plain(self.stack.pop())
                if self.stack or self.marks:
                    raise ValueError("values are left over at the end")
                return value
            self._step(name, argument)
        raise EOFError("the end mark is missing")

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in VALUES:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in ("PROTO", "FRAME"):
            pass
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            key = len(self.memo) if name == "MEMOIZE" else argument
            self.memo[key] = stack[-1]
            if isinstance(stack[-1], _Unfinished):
                stack[-1].memo_keys.append(key)
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name == "POP_MARK":
            self._since_mark()
        elif name == "POP":
            stack.pop()
        elif name in ("EMPTY_LIST", "LIST"):
            stack.append([] if name == "EMPTY_LIST" else self._since_mark())
        elif name in ("APPEND", "APPENDS"):
            items = self._top(1) if name == "APPEND" else self._since_mark()
            self._last(list).extend(items)
        elif name in TUPLES or name == "TUPLE":
            stack.append(tuple(self._top(TUPLES[name]) if name in TUPLES else self._since_mark()))
        elif name in ("EMPTY_DICT", "DICT"):
            stack.append(self._pairs([] if name == "EMPTY_DICT" else self._since_mark()))
        elif name in ("SETITEM", "SETITEMS"):
            items = self._top(2) if name == "SETITEM" else self._since_mark()
            self._last(dict).update(self._pairs(items))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            words = str(argument).split(" ", 1) if name == "GLOBAL" else self._top(2)
            if not all(isinstance(word, str) for word in words):
                raise ValueError("a name is no text")
            stack.append(_Name(".".join(words)))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_call(function, arguments, self._spend))
        elif name == "BUILD":
            state, unfinished = stack.pop(), stack.pop()
            if not isinstance(unfinished, _Unfinished):
                raise _Refused(f"it sets the state of a {type(unfinished).__name__}.")
            value = unfinished.finish(state)
            stack.append(value)
            for key in unfinished.memo_keys:
                self.memo[key] = value
        else:
            raise _Refused(f"it has an instruction {name}, as only objects need.")

    def _spend(self, n_bytes: int) -> None:
        """Count what is copied: an honest file has each of these bytes itself."""
        self.n_bytes -= n_bytes
        if self.n_bytes < 0:
            raise _Refused("it unfolds to more bytes than it has.")

    def _since_mark(self) -> list[Any]:
        return self._top(len(self.stack) - self.marks.pop())

    def _top(self, count: int) -> list[Any]:
        """Take the last values off the stack, all of which must be plain."""
        start = len(self.stack) - count
        if count < 0 or start < (self.marks[-1] if self.marks else 0):
            raise IndexError("a value is missing")
        values = self.stack[start:]
        del self.stack[start:]
        return [self._plain(value) for value in values]

    def _last(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise ValueError(f"items are for a {kind.__name__}")
        return self.stack[-1]

    @staticmethod
    def _pairs(items: list[Any]) -> dict[Any, Any]:
        for key in items[::2]:
            # The hash of tuples in tuples could take for ever.
            if not isinstance(key, KEY_TYPES):
                raise _Refused(f"a key of a dictionary is of type {type(key).__name__}.")
        return dict(zip(items[::2], items[1::2], strict=True))

    @staticmethod
    def _plain(value: Any) -> Any:
        """Let values pass that may stand in a list, a tuple or a dictionary."""
        if isinstance(value, _Name):
            if value.name != ARRAY:
                raise _Refused(f"it names {value.name}, which is never loaded.")
            return ARRAY  # an argument of the call that makes an array; its name will do
        if isinstance(value, _Unfinished):
            raise ValueError("an array has no content")
        return value


def _call(function: Any, arguments: Any, spend: Callable[[int], None]) -> Any:
    """Do by hand what the few known functions would do with the arguments."""
    if not isinstance(function, _Name) or not isinstance(arguments, tuple):
        raise ValueError("a call without a name or arguments")
    name = function.name
    for core in CORES:
        name = name.replace(f"{core}.", "numpy.core.", 1) if name.startswith(core) else name
    if name == "numpy.dtype":
        text = arguments[0]
        if not isinstance(text, str) or not DTYPE.fullmatch(text):
            raise _Refused(f"it holds arrays of dtype {_short(text)}.")
        return _Unfinished(lambda state: _dtype(text, state))
    if name == "numpy.core.multiarray._reconstruct":
        if arguments[0] != ARRAY:
            raise _Refused("it holds arrays of a class of their own.")
        return _Unfinished(lambda state: _array(*_five(state), spend))
    if name == "numpy.core.multiarray.scalar":
        dtype, content = arguments
        array = _array((), dtype, False, content, spend)
        spend(array.nbytes)
        return array[()]
    if name == "numpy.core.numeric._frombuffer":
        content, dtype, shape, order = arguments
        return _array(shape, dtype, order == "F", content, spend)
    if name == "_codecs.encode" and arguments[1:] in (("latin1",), ("latin-1",)):
        # How protocols before 3 write bytes.
        return _encoded(arguments[0], spend)
    if name in ("__builtin__.bytes", "builtins.bytes") and not arguments:
        return b""  # no bytes at all, before protocol 3
    raise _Refused(f"it calls {function.name}, which is never loaded.")


def _dtype(text: str, state: Any) -> np.dtype:
    order = state[1] if isinstance(state, tuple) and len(state) > 4 else None
    if order not in ("<", ">", "|", "=") or state[2:5] != (None, None, None):
        raise _Refused("it holds arrays of records.")
    return np.dtype(text if order == "|" else order + text)


def _five(state: Any) -> tuple[Any, Any, Any, Any]:
    if not isinstance(state, tuple) or len(state) != 5:
        raise ValueError("the state of an array has five parts")
    return state[1:]


def _encoded(text: Any, spend: Callable[[int], None]) -> bytes:
    if not isinstance(text, str):
        raise ValueError("what is encoded is no text")
    spend(len(text))
    return text.encode("latin-1")


def _short(value: Any) -> str:
    """Show a value in a message: its plain repr could take for ever, by tuples in tuples."""
    return f"{reprlib.repr(value):.60}"


def _array(
    shape: Any, dtype: Any, fortran: Any, content: Any, spend: Callable[[int], None]
) -> np.ndarray:
    """Make an array of exactly the bytes that are there."""
    if isinstance(content, str):
        content = _encoded(content, spend)  # how Python 2 wrote bytes
    if not isinstance(dtype, np.dtype) or not isinstance(content, bytes | bytearray):
        raise ValueError("an array needs a dtype and bytes")
    if (
        not isinstance(shape, tuple)
        or len(shape) > MAX_DIMENSIONS
        or not all(type(length) is int and length >= 0 for length in shape)
    ):
        raise ValueError(f"the shape {_short(shape)} of an array")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise _Refused(
            f"an array claims shape {_short(shape)} of {dtype} and has {len(content)} bytes."
        )
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    array.flags.writeable = False
    return array
