"""The run directory: each file is there whole or not at all, and what is read back is checked by its hash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from labelscrub.errors import DataError, EnvironmentProblem, UsageError
from labelscrub.store_files import (
    TEMPORARY,
    cannot_write,
    require_folder,
    sha256_file,
    sync_folder,
    write_atomic,
    write_new,
    writing,
)
from labelscrub.store_lock import HELD, LOCK, locked
from labelscrub.store_pictures import remove_pictures, write_pictures
from labelscrub.store_syncing import sync_files, sync_folders

if TYPE_CHECKING:  # `labelscrub check` on a stored run needs no numpy
    from numpy.typing import NDArray

__all__ = [
    "RunDirectory",
    "cannot_write",
    "check_not_inside",
    "locked",
    "read_arrays",
    "read_run",
    "require_folder",
    "sha256_file",
    "sync_files",
    "sync_folder",
    "sync_folders",
    "write_atomic",
    "write_new",
    "writing",
]

FORMAT = 1
STATE, RUN, RUN_HASH = "state.json", "run.json", "run.json.sha256"  # the last as `sha256sum` writes it
TABLE = "report.parquet"
OUTPUTS = ("suspects.csv", TABLE, "report.html", "clean.csv", "clean.tsv", "clean.jsonl", "clean.parquet")
CHECKPOINTS = ("fold-*.npz", "threshold-run-*.npz")
ARRAYS = ("predictions.npz", *CHECKPOINTS)
# All that --restart deletes (state.json is replaced). Anything else in the folder is the user's, or a cache.
OURS = (RUN, RUN_HASH, *OUTPUTS, *ARRAYS, TEMPORARY)

_OTHER_OUT = "choose another folder with --out"
_NAME_RUN = "run `labelscrub detect` first, or name the run directory that it wrote"
_ANEW = "--restart begins anew, or choose another --out"


def check_not_inside(out: Path, source_root: Path) -> None:
    """UsageError where the run directory is the scanned image folder or is in it: a second scan would see it.

    It can't contain the folder, for a run directory starts out empty. Not for manifests: they aren't scanned.
    """
    place = Path(os.path.realpath(out))
    for folder in (place, *place.parents):
        with contextlib.suppress(OSError):  # what isn't there yet is not the source
            if folder.samefile(source_root):
                how = "is" if folder == place else "is inside"
                raise UsageError(f"the run directory {out} {how} the source {source_root}", _OTHER_OUT)


def is_run(path: Path) -> bool:
    """Whether `path` is a run directory of ours, of a finished run or not."""
    return any(_is_ours(path / name) for name in (STATE, RUN))


def read_run(path: Path) -> bytes:
    """run.json of the finished run in `path`; DataError if it is not as the run wrote it."""
    try:
        data = (path / RUN).read_bytes()
        recorded = (path / RUN_HASH).read_bytes().split() if (path / RUN_HASH).exists() else []
    except (FileNotFoundError, NotADirectoryError):
        if is_run(path):
            cause = f"the run in {path} is not finished, or it ended without a verdict (exit code 5)"
            fix = "the same detect command again tells which: it goes on, or says why there is none"
            raise UsageError(cause, fix) from None
        raise UsageError(f"there is no run in {path}", _NAME_RUN) from None
    except OSError as error:
        fix = "make it readable, or name another run directory"
        raise EnvironmentProblem(f"cannot read {path / RUN}: {error.strerror}", fix) from error
    if recorded and recorded[0] != hashlib.sha256(data).hexdigest().encode():
        raise DataError(
            f"{path / RUN} is damaged or was edited after the run", "run the same detect command again"
        )
    return data


def read_arrays(path: Path, run_id: str = "") -> dict[str, NDArray[Any]]:
    """What `RunDirectory.put_arrays` stored; DataError if it isn't whole or not of the run `run_id`."""
    import numpy as np

    seal = _seal(run_id)
    again = "delete it and run the same detect command again"
    try:
        with path.open("rb") as file:
            end = max(file.seek(0, os.SEEK_END) - 64, 0)
            if _digest(file, end) != file.read():
                raise DataError(f"{path} is damaged", again)
            file.seek(max(end - len(seal), 0))
            if run_id and file.read(len(seal)) != seal:
                raise DataError(f"{path} belongs to another run", again)
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                return dict(stored)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}", again) from error


class RunDirectory:
    """A run's folder: state.json says what is run, `*.npz` what is done; the outputs follow, run.json last.

    Stored arrays count only if their bytes have their hash and belong to this very run. Others are taken as
    not there, with a sentence in `warnings`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings: list[str] = []
        self._restart = False
        self._begun: Any = None  # the fingerprint found in the folder
        self._run_id = ""
        self._outputs: dict[str, str] = {}

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path, *, restart: bool = False, finished: bool = False) -> Iterator[RunDirectory]:
        """The folder, locked and found writable: a new one, or an earlier run's, to `begin` or go on with.

        With `finished` only a finished run's, to read it; then it need not be writable.
        """
        if finished:
            read_run(path)
            if not is_run(path):
                raise UsageError(f"{path / RUN} is not labelscrub's", _NAME_RUN)
        else:
            _refuse_foreign(path)
            _make_folder(path)
        with locked(path, read_only=finished):
            directory = cls(path)
            if not finished:
                directory._restart = restart
                directory._begun = _read_state(path, restart)
                _remove(path, (TEMPORARY,))
                state = (
                    path / STATE
                )  # rewritten as it is: an unwritable folder shows now, not after the training
                write_atomic(state, state.read_bytes() if state.exists() else _state(None))
            yield directory

    def expect(self, part: Mapping[str, Any]) -> None:
        """UsageError where these top-level entries of the fingerprint would make `begin` refuse.

        So other settings are noticed before the work that the rest of the fingerprint takes.
        """
        if not self._restart and isinstance(self._begun, dict):
            old = {key: value for key, value in self._begun.items() if key in part}
            _refuse_other(self.path, old, json.loads(_state(part))["fingerprint"])

    def begin(self, fingerprint: Mapping[str, Any]) -> None:
        """Say what is run, as nested JSON values. UsageError if the folder has a run of anything else.

        With `restart` the earlier run's files are removed first; nobody else's file is ever touched.
        """
        state = _state(fingerprint)
        if self._restart:
            _remove(self.path, OURS)
            remove_pictures(self.path)
            sync_folder(self.path)  # what is removed must not be back beside the new state after a power cut
        elif self._begun is not None:
            _refuse_other(self.path, self._begun, json.loads(state)["fingerprint"])
            self._refuse_edited()
        write_atomic(self.path / STATE, state)
        self._run_id = hashlib.sha256(state).hexdigest()[:32]

    def put_arrays(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store arrays as NAME.npz, which `numpy.load` reads too. The same arrays give the same bytes."""
        import numpy as np

        with writing(self._arrays(name)) as file:
            with zipfile.ZipFile(file, "w") as archive:
                for key, array in arrays.items():
                    member = zipfile.ZipInfo(f"{key}.npy")  # dated 1980, whatever the clock says
                    with archive.open(member, "w", force_zip64=True) as stream:
                        np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)
                archive.comment = _seal(self._run_id) + b"0" * 64
            end = file.seek(-64, os.SEEK_END)
            file.write(_digest(file, end))

    def get_arrays(self, name: str) -> dict[str, NDArray[Any]] | None:
        """What `put_arrays` stored in this run, or None where there is nothing that can be used."""
        path = self._arrays(name)
        if not path.exists():
            return None
        try:
            return read_arrays(path, self._run_id)
        except DataError as error:
            self.warnings.append(f"{error.cause}: computed again")
            return None

    def checkpoints(self) -> tuple[str, ...]:
        """Names of the stored arrays that are of no use once the run has ended."""
        return tuple(sorted(path.stem for pattern in CHECKPOINTS for path in self.path.glob(pattern)))

    def delete(self, name: str) -> None:
        """Remove stored arrays."""
        _remove(self.path, (self._arrays(name).name,))

    def put_bytes(self, name: str, data: bytes) -> None:
        """Write an output or, last of all, run.json."""
        if name == RUN:
            _remove(self.path, (RUN_HASH,))  # killed in between: no digest is better than a wrong one
            write_atomic(self.path / RUN, data)
            write_atomic(self.path / RUN_HASH, f"{hashlib.sha256(data).hexdigest()}  {RUN}\n".encode())
        else:
            write_atomic(self._output(name), data)
            self._outputs[name] = hashlib.sha256(data).hexdigest()

    def put_pictures(self, pictures: Iterable[tuple[int, bytes]]) -> list[int]:
        """Write (row, WebP bytes) beside the page; returns the rows. run.json does not name so many files."""
        return write_pictures(self.path, pictures)

    def record_output(self, name: str) -> None:
        """Count in an output that was written straight into the folder, such as a large clean.csv."""
        self._outputs[name] = sha256_file(self._output(name))

    def outputs(self) -> dict[str, str]:
        """Name -> sha256 of the outputs written since the folder was opened: run.json's "files"."""
        return dict(self._outputs)

    def verify_outputs(self, run: Mapping[str, Any]) -> None:
        """UsageError where an output is not what run.json's "files" says, or report.parquet is gone."""
        recorded = run.get("files")
        if not isinstance(recorded, dict) or TABLE not in recorded:
            raise DataError(f"{self.path / RUN} does not say which files the run wrote", "run detect again")
        for name, digest in recorded.items():
            path = self.path / name
            if (name == TABLE or path.exists()) and (not path.is_file() or sha256_file(path) != digest):
                fix = "move your copy away and run the same detect command again: it writes the report anew"
                raise UsageError(f"{path} is not as the run wrote it: it was edited, damaged or removed", fix)

    def _refuse_edited(self) -> None:
        """UsageError where an output would be written over that somebody has worked on since."""
        try:
            files = json.loads(read_run(self.path)).get("files", {})
        except (UsageError, DataError, ValueError, AttributeError):
            return  # unfinished or damaged: nothing says what the outputs were
        for name, digest in files.items():
            if (self.path / name).is_file() and sha256_file(self.path / name) != digest:
                fix = "move your copy away, or choose another --out"
                raise UsageError(
                    f"{self.path / name} was edited since the run and would be written over", fix
                )

    def _arrays(self, name: str) -> Path:
        if "/" in name or not any(fnmatchcase(f"{name}.npz", pattern) for pattern in ARRAYS):
            raise ValueError(f"{name!r} is not in ARRAYS, so --restart would leave it")
        return self.path / f"{name}.npz"

    def _output(self, name: str) -> Path:
        if name not in OUTPUTS:
            raise ValueError(f"{name!r} is not in OUTPUTS, so --restart would leave it")
        return self.path / name


def _refuse_foreign(path: Path) -> None:
    """UsageError unless `path` is absent, an empty folder or a run directory, and no place people live in."""
    if os.path.realpath(path) in {os.path.realpath("/"), os.path.realpath(os.path.expanduser("~"))}:  # noqa: PTH111
        raise UsageError(f"{path} can't be a run directory: it is the root or your home", _OTHER_OUT)
    try:
        if not path.is_dir():
            if os.path.lexists(path):
                raise UsageError(f"{path} can't be a run directory: it is a file", _OTHER_OUT)
        elif not _is_new(path) and not any(_is_ours(path / name) for name in (STATE, RUN, LOCK)):
            raise UsageError(f"{path} is a folder with other files in it, not a run directory", _OTHER_OUT)
    except OSError as error:
        raise EnvironmentProblem(f"cannot read {path}: {error.strerror}", _OTHER_OUT) from error


def _is_new(path: Path) -> bool:
    """Empty, or with no more in it than a start that was cut short leaves."""
    return all(entry.name in (LOCK, HELD) or entry.match(TEMPORARY) for entry in path.iterdir())


def _is_ours(path: Path) -> bool:
    """Whether labelscrub wrote this file; it may be damaged since."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b"labelscrub" in file.read(1 << 20)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{path} can't be a folder: {error.strerror}", _OTHER_OUT) from error
    except OSError as error:
        raise cannot_write(path, error) from error


def _remove(folder: Path, patterns: tuple[str, ...]) -> None:
    for path in (path for pattern in patterns for path in folder.glob(pattern)):
        if path.is_file() or path.is_symlink():
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise cannot_write(path, error) from error


def _state(fingerprint: Mapping[str, Any] | None) -> bytes:
    state = {"format": FORMAT, "program": "labelscrub", "fingerprint": fingerprint}
    return (json.dumps(state, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _read_state(path: Path, restart: bool) -> Any:
    """The recorded fingerprint; None before `begin`, or where `restart` makes it not matter."""
    if _is_new(path):
        return None
    try:
        state = json.loads((path / STATE).read_bytes())
        version, fingerprint = int(state["format"]), state["fingerprint"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        version, fingerprint = 0, None
    if version > FORMAT:
        cause = f"{path} was written by a newer labelscrub (format {version}; this one knows {FORMAT})"
        raise UsageError(cause, "upgrade labelscrub, or choose another --out")
    if version < FORMAT and not restart:
        raise UsageError(f"{path / STATE} is missing, damaged or of an older labelscrub", _ANEW)
    return fingerprint


def _refuse_other(path: Path, old: Any, new: Any) -> None:
    before, after = dict(_flat("", old)), dict(_flat("", new))
    lines = [
        f"  {key}: {_shown(before, key)} -> {_shown(after, key)}"
        for key in dict.fromkeys((*before, *after))
        if before.get(key, ...) != after.get(key, ...)
    ]
    if lines:
        raise UsageError("\n".join([f"{path} holds a run with other settings or data:", *lines]), _ANEW)


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else key, item)
    else:
        yield prefix, value


def _shown(values: dict[str, Any], key: str) -> str:
    """A value short enough for a line: a hash as eight digits, a long text cut."""
    if key not in values:
        return "(none)"
    value = values[key]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if re.fullmatch(r"[0-9a-f]{16,}", text):
        return text[:8] + ".."
    return text if len(text) <= 60 else text[:57] + "..."


def _seal(run_id: str) -> bytes:
    """Which run arrays belong to; the digest of all bytes before it follows, and both end the file."""
    return f"labelscrub {run_id} ".encode()


def _digest(file: BinaryIO, end: int) -> bytes:
    """Hex digest of the bytes before `end`; leaves the file there."""
    file.seek(0)
    digest, left = hashlib.sha256(), end
    while left and (block := file.read(min(left, 1 << 20))):
        digest.update(block)
        left -= len(block)
    file.seek(end)
    return digest.hexdigest().encode()
