"""The files that users bring from their own model, as plain arrays and tables. Nothing is ever unpickled."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from labelscrub.errors import DataError, EnvironmentProblem, UsageError

PATH_NAMES = ("path", "file", "filename", "file_name", "image", "image_path", "image_id", "id")


def known_suffix(path: Path, legal: tuple[str, ...]) -> str:
    if not path.exists():
        raise UsageError(f"{path} does not exist", "check the path")
    if path.is_dir():
        raise UsageError(f"{path} is a folder", "name a file: " + ", ".join(legal))
    suffix = path.suffix.lower()
    if suffix not in legal:
        raise UsageError(f"{path} is of no known kind", "known: " + ", ".join(legal))
    return suffix


def load_numpy(path: Path) -> Any:
    """An array, memory-mapped; of an .npz a dict: its `pred_probs`, or its only array by that name."""
    try:
        with path.open("rb") as file:  # open here: np.load leaves it open where the archive is damaged
            if file.read(2) != b"PK":
                return np.load(path, mmap_mode="r", allow_pickle=False)
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            if len(archive.files) == 1:
                return {"pred_probs": archive[archive.files[0]]}
            if "pred_probs" in archive.files:
                return {
                    key: archive[key] for key in ("pred_probs", "classes", "paths") if key in archive.files
                }
            keys = ", ".join(archive.files) or "nothing"
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:  # a damaged file has many: ValueError, EOFError, BadZipFile, zlib.error, ...
        raise DataError(
            f"{path} is no plain NumPy array: {str(error).partition(chr(10))[0] or 'damaged'}",
            "save it with np.save(file, array, allow_pickle=False); pickled objects are never loaded",
        ) from error
    raise DataError(f"{path} holds {keys}", "name the array of probabilities pred_probs")


def csv_table(path: Path, *, numbers: bool) -> pa.Table:
    """Cells exactly as written, or with `numbers` all columns but the first as float32.

    Columns are named by the header; where there is none by number, and the schema then has metadata.
    """
    first, second = _first_records(path)
    header = _is_header(first, second)
    names = first if header else [str(k) for k in range(len(first))]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: two columns are named '{twice}'", "give each column its own name")
    types = dict.fromkeys(names, pa.float32() if numbers else pa.string()) | {names[0]: pa.string()}
    try:
        table = pa_csv.read_csv(
            path,
            # One thread: only then does an error say which row it is in.
            read_options=pa_csv.ReadOptions(
                column_names=names, skip_rows_after_names=int(header), use_threads=False
            ),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types=types, null_values=[], strings_can_be_null=False
            ),
        )
    except OSError as error:
        raise unreadable(path, error) from error
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{path}: {error}", "write it as UTF-8 text, each row with the same number of cells"
        ) from error
    return table if header else table.replace_schema_metadata({"header": "none"})


def _first_records(path: Path) -> tuple[list[str], list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            records = [record for record, _ in zip(reader, range(2), strict=False)]
    except OSError as error:
        raise unreadable(path, error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no UTF-8 text table: {error}", "save it as CSV in UTF-8") from error
    if not records or not records[0]:
        raise DataError(f"{path} has no rows", "give a row an image")
    return records[0], records[1] if len(records) > 1 else []


def _is_header(first: list[str], second: list[str]) -> bool:
    """Names, or class numbers: whole numbers each once, that are no row of 0 and 1 like the one below."""
    if not all(is_number(cell) for cell in first):
        return True
    if not all(cell.strip().isdecimal() for cell in first) or len(set(first)) < len(first):
        return False
    return sum(map(int, first)) != 1 or not all(cell.strip().isdecimal() for cell in second)


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def parquet_table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, partitioning=None)
    except OSError as error:
        raise unreadable(path, error) from error
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"{path} is damaged or no Parquet file: {error}", "write it again") from error


def as_text(column: pa.ChunkedArray, name: str, path: Path) -> list[str]:
    """(N,) cells as text, "" where there is none."""
    try:
        return [cell or "" for cell in column.cast(pa.string()).to_pylist()]
    except pa.ArrowException as error:
        raise DataError(f"{path}: column '{name}' holds {column.type}", "write it as text") from error


def unreadable(path: Path, error: OSError) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"{path} can't be read: {error.strerror or error}", "check its permissions and the disk"
    )
