"""Last look before hours of training: is there enough, and is it the data it was?"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labelscrub.config import SourceSettings
from labelscrub.data.labels import reject_ids, visible
from labelscrub.errors import DataError, UsageError
from labelscrub.records import Images, Manifest, Skipped

_FEWEST_IMAGES = 5
_BLOCK = 1 << 14  # rows hashed at once
_STATES = {"used": b"u", "missing": b"m", "unreadable": b"r", "skipped": b"s"}


def require_trainable(manifest: Manifest, images: Images, settings: SourceSettings, folds: int) -> None:
    """Raise DataError where nothing can be learned, or too much of what is listed can't be used."""
    skipped = (*manifest.skipped, *images.skipped)
    listed, used = len(manifest), len(images.rows)
    if not listed:
        raise DataError(f"{manifest.source} lists no images", "give a folder or manifest with images")
    require_present(manifest, settings, images.skipped)
    _reject_too_many(skipped, "unreadable", listed, settings.max_unreadable, "check the first few by hand")
    if not used:
        raise DataError(
            f"none of the {listed:,} listed images can be used: {_reasons(skipped)}", "mend or list others"
        )

    per_class = np.bincount(manifest.labels[images.rows], minlength=len(manifest.classes))
    present = np.flatnonzero(per_class)
    if len(present) < 2:
        only = visible(manifest.classes[present[0]])
        raise DataError(
            f"need at least 2 classes with usable images, but only {only} has any",
            "wrong labels can only be told where there is another class",
        )
    if settings.classes is None:
        reject_ids(len(present), used, has_columns=bool(manifest.tables))
    if used < _FEWEST_IMAGES:
        raise DataError(f"only {used} usable images: too few to cross-validate", "give more images")
    if folds > used:
        raise UsageError(f"--folds {folds} is more than the {used} usable images", "choose fewer folds")
    different = len(np.unique(np.ascontiguousarray(images.sha256).view("V32")))
    if different < folds:  # copies share a fold, so some folds would be empty
        raise DataError(
            f"only {different} different among {used:,} images: too few for {folds} folds",
            "give other images: exact copies say nothing new",
        )
    judged = int((per_class >= folds).sum())
    if judged < 2:
        raise DataError(
            f"{'no class has' if not judged else 'only one class has'} as many usable images as there are "
            f"folds ({folds}), but it takes two to tell labels apart",
            "give more images of the small classes or choose fewer --folds",
        )


def require_present(manifest: Manifest, settings: SourceSettings, gone: Sequence[Skipped] = ()) -> None:
    """Raise DataError where too many of the listed files are missing; `gone` are those noticed since."""
    where = f"paths are looked for in {manifest.root}: set --image-root if that is wrong"
    skipped = (*manifest.skipped, *gone)
    _reject_too_many(skipped, "missing", len(manifest), settings.max_missing, where)


def data_fingerprint(manifest: Manifest, images: Images) -> str:
    """SHA-256 of what a result depends on: classes; each row's path, label, group, content or skip kind."""
    digest = hashlib.sha256()
    _update(digest, manifest.classes)
    state: NDArray[np.bytes_] = np.full(len(manifest), b"?", "S1")
    for item in (*manifest.skipped, *images.skipped):
        state[item.row] = _STATES[item.kind]
    state[images.rows] = _STATES["used"]
    labels = np.asarray(manifest.labels, "<i4")
    for start in range(0, len(manifest), _BLOCK):
        stop = min(start + _BLOCK, len(manifest))
        _update(digest, manifest.paths[start:stop])
        _update(digest, manifest.groups[start:stop] if manifest.groups is not None else ())
        digest.update(labels[start:stop].tobytes())
        digest.update(state[start:stop].tobytes())
        first, last = np.searchsorted(images.rows, (start, stop))
        digest.update(np.ascontiguousarray(images.sha256[first:last]).tobytes())
    return digest.hexdigest()


def _update(digest: hashlib._Hash, texts: Sequence[str]) -> None:
    """Add texts so that no two lists of them look alike: how many, how long each, then all."""
    parts = [text.encode("utf-8", "surrogatepass") for text in texts]
    lengths = np.fromiter(map(len, parts), "<i8", len(parts))
    digest.update(np.array([len(parts)], "<i8").tobytes() + lengths.tobytes())
    digest.update(b"".join(parts))


def _reject_too_many(skipped: Sequence[Skipped], kind: str, listed: int, most: float, fix: str) -> None:
    found = [item for item in skipped if item.kind == kind]
    if len(found) > most * listed:
        first = min(found, key=lambda item: item.row)
        raise DataError(
            f"{len(found):,} of {listed:,} listed images are {kind} ({_reasons(found)}), "
            f"more than --max-{kind} {most:g} allows; the first is row {first.row}, {visible(first.path)}",
            f"{fix}, or raise --max-{kind}",
        )


def _reasons(skipped: Sequence[Skipped]) -> str:
    """The most frequent reasons with their counts: "12 truncated, 3 empty file"."""
    counts = Counter(item.reason for item in skipped).most_common(4)
    return ", ".join(f"{count:,} {reason}" for reason, count in itertools.islice(counts, 3)) + (
        ", ..." if len(counts) > 3 else ""
    )
