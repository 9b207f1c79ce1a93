"""What the readers of tables fill, row by row, before paths are looked up and labels are numbered."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelscrub.data.columns import Columns
from labelscrub.data.pace import Pace
from labelscrub.errors import DataError
from labelscrub.records import SourceKind

_NO_LABEL = ("nan", "NaN")  # what pandas writes for a missing value; "NA" and "null" are labels
_MOST_LABELS = 1_000_000


class LabelCodes(dict[str | None, int]):
    """Label text -> its number in order of first appearance, or -1 where the text means that there is none.

    `codes.append(labels[text])` is all a row costs; the rest happens once a distinct text.
    """

    def __init__(self) -> None:
        super().__init__()
        self.codes = array("i")
        """Number of each row so far."""
        self.first_rows: list[int] = []
        """Row in which each numbered label is met first."""

    def __missing__(self, text: str | None) -> int:
        code = len(self.first_rows)
        if text is None or text in _NO_LABEL or not text.strip():
            code = -1
        else:
            self.first_rows.append(len(self.codes))
        if code >= _MOST_LABELS:
            raise DataError(
                f"more than {_MOST_LABELS:,} different labels: these look like ids, not classes",
                "name the column with the labels with --label-column",
            )
        self[text] = code
        return code

    def names(self) -> list[str]:
        """The distinct labels, by number."""
        return [text for text, code in self.items() if text is not None and code >= 0]


class Rows:
    """The rows of one or more tables under construction; R grows with every row read."""

    def __init__(self, kind: SourceKind, pace: Pace) -> None:
        self.kind: SourceKind = kind
        self.pace = pace
        self.columns: Columns | None = None
        """Those of the first table; the others must have them too."""
        self.image_column = ""
        self.class_names: tuple[str, ...] | None = None
        """Where the Parquet schema has a ClassLabel."""
        self.paths: list[str] = []
        self.labels = LabelCodes()
        self.groups: list[str] | None = None
        self.embedded: list[NDArray[np.bool_]] = []
        """Of Parquet tables with an image column: per batch, whether a row's bytes are in the table."""
        self.notes: list[str] = []
        self.tables: list[Path] = []
        self.prefixes: list[str] = []
        """Per table: what its paths are relative to, from the manifest's root: "" or "train/"."""
        self.ends: list[int] = []
        """Per table: number of rows when it was read."""
        self.sha256: list[str] = []
        self._spans: list[NDArray[np.int64]] = []

    def __len__(self) -> int:
        return len(self.paths)

    def close_table(self, path: Path, prefix: str, sha256: str, spans: NDArray[np.int64]) -> None:
        """Book a table read to its end; `spans` (rows of the table, 2) as `Manifest.spans` wants them."""
        self.tables.append(path)
        self.prefixes.append(prefix)
        self.ends.append(len(self))
        self.sha256.append(sha256)
        self._spans.append(spans)

    def spans(self) -> NDArray[np.int64]:
        """(R, 2) of all tables."""
        return np.concatenate(self._spans) if self._spans else np.zeros((0, 2), np.int64)

    def table_of(self) -> NDArray[np.int32]:
        """(R,) index of each row's table."""
        counts = np.diff([0, *self.ends])
        return np.repeat(np.arange(len(counts), dtype=np.int32), counts)

    def is_embedded(self) -> NDArray[np.bool_]:
        """(R,) whether the image's bytes are in the table itself."""
        return np.concatenate(self.embedded) if self.embedded else np.zeros(len(self), np.bool_)


def byte_spans(starts: array[int], end: int) -> NDArray[np.int64]:
    """(R, 2) spans that touch: a row ends where the next begins, so blank lines belong to the row above."""
    edges = np.empty(len(starts) + 1, np.int64)
    edges[:-1] = np.frombuffer(starts, np.int64) if starts else ()
    edges[-1] = end
    return np.stack([edges[:-1], edges[1:]], axis=1)
