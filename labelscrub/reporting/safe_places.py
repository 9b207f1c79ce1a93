"""Safe, different places for exported images: names come from strangers, and tools have rules for them."""

from __future__ import annotations

import re
import unicodedata
from os.path import splitext

# What not all systems allow (control characters, Windows' reserved ones), and marks that reverse reading.
_UNSAFE = re.compile(
    '[\x00-\x1f\x7f-\x9f<>:"|?*\\\\\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]'
)
# `datasets` takes these words, set off from others, for a file's split, and then overlooks metadata.jsonl
# (its data_files.py: SPLIT_KEYWORDS, NON_WORDS_CHARS).
_SPLIT = re.compile(
    "(?<![^-._ 0-9])(train|training|validation|valid|dev|val|test|testing|eval|evaluation)(?![^-._ 0-9])"
)
_LONGEST_NAME = 180  # bytes; file systems have 255
_LONGEST_PLACE = 1000  # bytes; Linux has 4096 for a whole path
_LONGEST_EXTENSION = 16


class Places:
    """Gives each image a relative path with "/" that no other has, also where case does not count.

    A path that is fine stays as it is. "..", leading "/" and characters that not every system has are left
    out or replaced, and so are a leading dot and double underscore, which tools take for hidden files.
    """

    def __init__(self, *, stems: bool = False, splits: bool = True) -> None:
        """`stems`: also differ without the extension. `splits`: False renames what names a split."""
        self._stems: set[str] | None = set() if stems else None
        self._splits = splits
        self._files: set[str] = set()
        self._folders: set[str] = set()
        self._next: dict[str, int] = {}

    def place(self, path: str) -> str:
        """A place of its own for the image that the source calls `path`."""
        names = [self._safe(name) for name in path.split("/") if name not in ("", ".", "..")] or ["image"]
        too_long = len("/".join(names).encode()) > _LONGEST_PLACE
        if too_long or any(folder in self._files for folder in _folders(names)):
            names = names[-1:]
        place = wanted = "/".join(names)
        stem, extension = splitext(wanted)  # noqa: PTH122  (a place is text)
        number = self._next.get(_key(wanted), 2)
        while self._is_taken(place):
            place = f"{stem}-{number}{extension}"  # as FiftyOne does it
            number += 1
        self._next[_key(wanted)] = number
        self._files.add(_key(place))
        self._folders.update(_folders(names))
        if self._stems is not None:
            self._stems.add(_stem(place))
        return place

    def _is_taken(self, place: str) -> bool:
        key = _key(place)
        return key in self._files or key in self._folders or _stem(place) in (self._stems or ())

    def _safe(self, name: str) -> str:
        name = _UNSAFE.sub("_", name)
        if not self._splits:
            name = _SPLIT.sub(r"\1set", name)
        stem, extension = _split(name)
        room = _LONGEST_NAME - len(extension.encode())
        name = re.sub("[. ]+$", "_", stem.encode()[:room].decode(errors="ignore") + extension)
        return "_" + name.lstrip("._") if name.startswith((".", "__")) else name


def _key(place: str) -> str:
    """Equal for paths that some file system takes for one: by case, or by how an accent is written."""
    return unicodedata.normalize("NFC", place.casefold())


def _folders(names: list[str]) -> list[str]:
    return [_key("/".join(names[:n])) for n in range(1, len(names))]


def _stem(place: str) -> str:
    """What FiftyOne knows an image by."""
    return _key(splitext(place)[0])  # noqa: PTH122  (a place is text)


def _split(name: str) -> tuple[str, str]:
    """A name and its extension, with the dot; "" where it has none, or none that looks like one."""
    dot = name.rfind(".")
    is_extension = dot > name.rfind("/") + 1 and len(name) - dot <= _LONGEST_EXTENSION
    return (name[:dot], name[dot:]) if is_extension else (name, "")
