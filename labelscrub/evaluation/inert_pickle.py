"""Pickles of strangers, read without running anything in them: NumPy's arrays come back as plain notes.

The published CIFAR files are pickles. Whatever a pickle names is called while it is read, so the few names
that such files have are given harmless stand-ins here, not even NumPy's own functions, and every other name
ends the reading.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_INTEGER = re.compile(r"[iu][1248]")


class Array:
    """Stands for numpy.ndarray: keeps what the pickle says of an array."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class DType:
    """Stands for numpy.dtype."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        self.code, self.order = _text(code), "|"

    def __setstate__(self, state: Any) -> None:
        self.order = _text(state[1])


def reconstruct(kind: Any, shape: Any, code: Any) -> Array:
    """Stands for numpy's _reconstruct, which begins every pickled array."""
    return Array()


def encode(text: str, encoding: str) -> bytes:
    """Stands for codecs.encode, by which Python 3 writes bytes for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes written as {encoding!r}")
    return text.encode("latin1")


STAND_INS: dict[str, Callable[..., Any]] = {
    "numpy.core.multiarray._reconstruct": reconstruct,
    "numpy._core.multiarray._reconstruct": reconstruct,  # as numpy 2 writes it
    "numpy.ndarray": Array,
    "numpy.dtype": DType,
    "_codecs.encode": encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (stand_in := STAND_INS.get(f"{module}.{name}")) is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not to be run")
        return stand_in


def load(stream: BinaryIO) -> Any:
    """Numbers, texts, lists, dicts and `Array`s. Texts of Python 2 come as bytes.

    Raises whatever pickle does where the file is damaged, and UnpicklingError where it asks for more.
    """
    return _Unpickler(stream, encoding="bytes").load()


def as_array(value: object) -> NDArray[Any]:
    """The array of whole numbers that an `Array` describes, read-only; ValueError where it describes none."""
    if not isinstance(value, Array) or not isinstance(value.state, tuple) or len(value.state) != 5:
        raise ValueError("no array")
    _, shape, kind, by_column, data = value.state
    if not isinstance(kind, DType) or not _INTEGER.fullmatch(kind.code) or kind.order not in ("<", ">", "|"):
        raise ValueError("no array of whole numbers")
    if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError("an array without a shape")
    dtype = np.dtype(kind.order + kind.code)
    if not isinstance(data, bytes) or len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError("an array with more or fewer numbers than its shape")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if by_column else "C")


def _text(value: Any) -> str:
    """A short text, which Python 2 wrote as bytes."""
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
