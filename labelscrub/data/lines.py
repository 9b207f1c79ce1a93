"""A text manifest line by line, with the byte at which each begins: UTF-8, any line ending, no NUL."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from labelscrub.errors import DataError, EnvironmentProblem, UsageError

_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_SNIFFED = 4096  # bytes looked at to tell UTF-16 and compressed files from text
_PACKED = {
    b"\x1f\x8b": "gunzip",
    b"PK\x03\x04": "unzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
}


class Lines(Iterator[str]):
    """Lines with their endings as they stand, "\\r", "\\n" or "\\r\\n"."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """`file` is at its beginning; `name` is for messages."""
        head = file.read(_SNIFFED)
        _reject_other_encodings(head, name)
        self.end = len(_UTF8_BOM) if head.startswith(_UTF8_BOM) else 0
        """Byte offset behind the last line read, a byte-order mark included."""
        self.number = 0
        """Lines read so far, which is the number of the last one, from 1."""
        self.row = -1
        """Row being read, for messages; the reader of rows keeps it up to date. -1 is the header."""
        self.name = name
        self.tolerant = False
        """Pass on bytes that are not UTF-8, surrogate-escaped, instead of refusing them."""
        self.foreign = False
        """Set when a line with such bytes was passed on."""
        file.seek(self.end)
        # surrogateescape, so that a byte that is not UTF-8 is met in its own line, not somewhere in its block
        self._text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")

    def __next__(self) -> str:
        line = next(self._text)
        self.number += 1
        if "\0" in line:
            raise DataError(
                f"{self.where()}: a NUL character", "manifests are text: write it anew without NUL"
            )
        if line.isascii():
            self.end += len(line)
        else:
            self.end += len(line.encode("utf-8", "surrogateescape"))
            if not is_unicode(line):
                if not self.tolerant:
                    raise not_utf8(self.where(), self.name)
                self.foreign = True
        return line

    def where(self) -> str:
        """ "labels.csv, line 14 (row 12)", or without the row in the header."""
        return f"{self.name}, line {self.number}" + (f" (row {self.row})" if self.row >= 0 else "")


def is_unicode(text: str) -> bool:
    """Whether text has no bytes in it that were not UTF-8."""
    return text.isascii() or not any("\udc80" <= char <= "\udcff" for char in text)


def not_utf8(where: str, name: str) -> DataError:
    """The error for a place of the file `name` that is not UTF-8."""
    return DataError(
        f"{where}: not UTF-8 text (Latin-1 or Windows-1252?)",
        f"convert it: iconv -f WINDOWS-1252 -t UTF-8 {name}",
    )


@contextmanager
def open_table(path: Path, *, hashed: bool = True) -> Iterator[tuple[BinaryIO, str]]:
    """A manifest opened for reading, and the SHA-256 of its bytes as a hex digest. Never blocks on a pipe."""
    try:
        if not path.is_file():
            raise UsageError(f"{path} is not a regular file", "write the manifest to a file first")
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest() if hashed else ""
            file.seek(0)
            yield file, sha256
    except PermissionError as error:
        raise EnvironmentProblem(f"{path}: permission denied", "make the manifest readable") from error


def _reject_other_encodings(head: bytes, name: str) -> None:
    for magic, tool in _PACKED.items():
        if head.startswith(magic):
            raise UsageError(f"{name} is compressed", f"unpack it first: {tool} {name}")
    nuls = head.count(0)
    if head.startswith(_UTF16_BOMS) or (nuls and 0.3 <= nuls / len(head) <= 0.8):
        raise DataError(f"{name} is UTF-16 text, not UTF-8", f"convert it: iconv -f UTF-16 -t UTF-8 {name}")
