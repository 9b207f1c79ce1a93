"""What flows between the stages. Stages know these records and nothing of each other.

Symbols: R rows the source lists; N of them used (an image could be decoded and has a label); K classes;
S the side and C the channels of a training image.

Two index spaces, never mixed: a *row* (0..R-1) is a line of the Manifest; an *index* (0..N-1) is a line of
Images, Predictions and Findings. `Images.rows[index]` is the row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # numpy is not imported at run time: `labelscrub check` on a stored run stays quick
    import numpy as np
    from numpy.typing import NDArray

SkipKind = Literal["unreadable", "missing", "skipped"]
SourceKind = Literal["folder", "csv", "tsv", "jsonl", "parquet"]


@dataclass(frozen=True)
class Skipped:
    """A listed row that can't be used, and why. Never a silent drop."""

    row: int
    path: str
    """As the source writes it (surrogate-escaped where it is not UTF-8)."""
    kind: SkipKind
    reason: str
    """A few words a person understands, without the path: "truncated", "empty file", "no label"."""
    same_as: int = -1
    """Row of the used image that this row lists a second time (the same file), or -1."""


@dataclass(frozen=True, eq=False)
class Manifest:
    """The source's rows in source order. R counts every row or file listed, also those in `skipped`."""

    source: Path
    kind: SourceKind
    """Format of the rows. A Hugging Face image folder with metadata has the kind of its metadata file."""
    root: Path
    """Folder that `files` are relative to."""
    classes: tuple[str, ...]
    """(K,) class names exactly as written, sorted as text (ClassLabel names keep their own order)."""
    paths: Sequence[str]
    """(R,) as the source writes them; for a folder relative to it, with '/'."""
    files: Sequence[str]
    """(R,) the file each row means: relative to `root`, or absolute; "" if embedded or skipped."""
    labels: NDArray[np.int32]
    """(R,) index into `classes`; -1 where the row has no usable label."""
    skipped: tuple[Skipped, ...] = ()
    """Rows found unusable without decoding: missing files, no label, not an image, listed twice."""
    notes: tuple[str, ...] = ()
    """What the user should know, a sentence each: "3 hidden files ignored"."""
    groups: Sequence[str] | None = None
    """(R,) value of the group column: equal values stay in one fold."""
    tables: tuple[Path, ...] = ()
    """The manifest files themselves, in order; empty for a folder."""
    table_of: NDArray[np.int32] | None = None
    """(R,) index into `tables`."""
    spans: NDArray[np.int64] | None = None
    """(R, 2) where the row is: byte start and end in its text table, or (row, row + 1) in its Parquet table.

    A table's bytes before its first row's start are its header (with any byte-order mark)."""
    table_sha256: tuple[str, ...] = ()
    """Hex digest of each table's bytes when it was read."""
    path_column: str = "path"
    label_column: str = "label"
    image_column: str = ""
    """Parquet column with embedded image bytes; "" where images are files."""

    def __len__(self) -> int:
        return len(self.paths)

    def path_of(self, row: int) -> Path | None:
        """The image file of a row, or None where its bytes are embedded."""
        return self.root / self.files[row] if self.files[row] else None


@dataclass(frozen=True, eq=False)
class Images:
    """Decoded once, at training size."""

    pixels: NDArray[np.uint8]
    """(N, S, S, C) memory-mapped, C is 1 (grey) or 3 (RGB)."""
    rows: NDArray[np.int64]
    """(N,) manifest row of each image, ascending."""
    sha256: NDArray[np.uint8]
    """(N, 32) digest of each image file's bytes."""
    skipped: tuple[Skipped, ...] = ()
    """Rows that `Manifest.skipped` does not have and that could not be decoded."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of one fold."""

    fold: int
    epoch: int
    """From 1."""
    loss: float
    """Mean training loss over the epoch."""
    accuracy: float
    """Share of training images whose given label was predicted, over the epoch, 0..1."""


@dataclass(frozen=True, eq=False)
class Plants:
    """M labels that training made wrong on purpose, to see what a wrong label looks like here."""

    index: NDArray[np.int64]
    """(M,) the image; each is planted in at most one fold."""
    label: NDArray[np.int32]
    """(M,) the wrong label it was trained with."""
    fold: NDArray[np.int16]
    """(M,) in whose training."""
    late_margin: NDArray[np.float32]
    """(M,) as `Evidence.late_margin`, of the planted label."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What `--method calibrated` reads beside predictions; of no image while a planted label stood in."""

    train_probs: NDArray[np.float32]
    """(N, K) softmax in the passes that trained on the image, mean over epochs and folds."""
    late_margin: NDArray[np.float32]
    """(N,) margin of the given label in logits, mean over the last epochs of its training folds."""
    mean_logits: NDArray[np.float32]
    """(N, K) out of fold, mean over the epochs."""
    plants: Plants


@dataclass(frozen=True, eq=False)
class Predictions:
    """What training hands to detection; what `--pred-probs` brings has `fold` all -1 and `aum` all NaN.

    So has what a network trained on another source says (`--train-on`).
    """

    pred_probs: NDArray[np.float32]
    """(N, K) out of fold: from the model not trained on that image. With method aum: the mean in training.

    0 in a whole column: the model has not learnt that class."""
    fold: NDArray[np.int16]
    """(N,) fold that held the image out; -1 unknown, or there were no folds."""
    aum: NDArray[np.float32]
    """(N,) area under the margin, in logits: mean over its training folds and epochs; NaN unrecorded."""
    aum_threshold: NDArray[np.float32] | None = None
    """(N,) with `--method aum`: the threshold-sample percentile of the run that judged the image."""
    history: tuple[EpochRecord, ...] = ()
    evidence: Evidence | None = None
    """With `--method calibrated`."""


@dataclass(frozen=True, eq=False)
class Findings:
    """One entry an image, in image order (not ranked). Ties in rank are broken by row."""

    rank: NDArray[np.int64]
    """(N,) 1 is looked at first: conflicting duplicates, then suspects, the rest; each by falling `score`."""
    given: NDArray[np.int32]
    """(N,) class index of the label in the source."""
    suggested: NDArray[np.int32]
    """(N,) most probable class other than the given one where `is_suspect`, else the most probable class."""
    is_suspect: NDArray[np.bool_]
    by_class: NDArray[np.bool_]
    """(N,) proposed by prune-by-class (Northcutt et al. 2021a)."""
    by_noise_rate: NDArray[np.bool_]
    """(N,) proposed by prune-by-noise-rate."""
    score: NDArray[np.float64]
    """(N,) in 0..1, higher is more likely wrong; see `detection.score`."""
    self_confidence: NDArray[np.float32]
    """(N,) p(given label), from `Predictions.pred_probs`."""
    normalized_margin: NDArray[np.float32]
    """(N,) p(given) minus the largest other probability, in -1..1."""
    aum: NDArray[np.float32]
    error_probability: NDArray[np.float32]
    """(N,) P(given label is wrong), in 0..1; NaN where not calibrated or not assessed."""
    fold: NDArray[np.int16]
    assessed: NDArray[np.bool_]
    """(N,) False for images of classes that can't be judged: too small, all in one fold, or not learnt."""
    conflict: NDArray[np.int64]
    """(N,) number of the group of same-bytes images with different labels, from 1; 0 is none."""
    why: tuple[str, ...]
    """(N,) a few words for each suspect or conflict: "0.97 dog, 0.01 cat"; "" for the rest."""

    def __len__(self) -> int:
        return len(self.why)

    def order(self) -> NDArray[np.int64]:
        """(N,) image indices, first rank first."""
        import numpy as np

        return np.argsort(self.rank, kind="stable")


@dataclass(frozen=True)
class ClassSummary:
    """One line of the per-class table."""

    label: str
    images: int
    suspects: int
    accuracy: float
    """Share of images whose given label is predicted, by a model not trained on them; with method aum, by one
    that was."""
    estimated_noise_rate: float
    """From confident learning's joint: share of images given this label whose true label is another."""
    assessed: bool


@dataclass(frozen=True)
class ConfusedPair:
    """How many suspects carry one label and look like another."""

    given: str
    suggested: str
    count: int


@dataclass(frozen=True)
class Calibration:
    """What `--method calibrated` says of the data set: all JSON-ready but NaN."""

    images: int
    """Assessed ones: what the rates are shares of."""
    noise_rate: float
    """Share of labels estimated wrong, 0..1: mean error probability."""
    low: float
    """Lower end of the 95 % interval of `noise_rate`."""
    high: float
    aim: str
    """What the cut was chosen for: "f1", "precision=0.9", "recall=0.95"."""
    cut: float
    """Smallest error probability listed; NaN where none is."""
    expected_precision: float
    """Of the suspects: mean error probability; NaN where none is listed."""
    expected_recall: float
    """Share of the wrong labels that is listed; NaN where none is expected to be wrong."""
    expected_f1: float
    transition: tuple[tuple[float, ...], ...]
    """(K, K) P(given = column | true = row), in class order; a row of NaN where nothing is known."""

    @property
    def wrong(self) -> int:
        """Labels estimated wrong."""
        return round(self.noise_rate * self.images)

    @property
    def interval(self) -> tuple[int, int]:
        """`low` and `high` as numbers of labels."""
        return round(self.low * self.images), round(self.high * self.images)


@dataclass(frozen=True)
class Summary:
    """The run in figures: all JSON-ready, what `run.json` stores and `check` gates on."""

    listed: int
    used: int
    unreadable: int
    missing: int
    skipped: int
    reasons: dict[str, int]
    """Skip reason -> count, over all three kinds."""
    suspects: int
    conflicts: int
    """Images in groups of same bytes with different labels."""
    estimated_noise_rate: float
    """Share of labels estimated wrong, 0..1: off-diagonal mass of confident learning's joint."""
    accuracy: float
    """Share of images whose given label is predicted, by a model not trained on them; with method aum, by one
    that was."""
    classes: tuple[ClassSummary, ...]
    confused_pairs: tuple[ConfusedPair, ...]
    """Most frequent first."""
    not_assessed: tuple[str, ...]
    """Classes with fewer images than folds, or all in one fold; with --train-on, with too few in a source."""
    notes: tuple[str, ...] = ()
    calibration: Calibration | None = None
    """With `--method calibrated`; then `estimated_noise_rate` is its own, also in `classes`."""

    @property
    def suspect_rate(self) -> float:
        """Suspects over used images; 0 where none is used."""
        return self.suspects / self.used if self.used else 0.0


@dataclass(frozen=True, eq=False)
class Details:
    """What a person who decides wants to see of each listed image: M suspects and conflicting duplicates."""

    index: NDArray[np.int64]
    """(M,) ascending."""
    top: NDArray[np.int32]
    """(M, T) the T = min(5, K) most probable classes, first the most probable."""
    top_probs: NDArray[np.float32]
    """(M, T) their probabilities."""
    suggested_prob: NDArray[np.float32]
    """(M,) probability of the suggested label."""
    example_given: NDArray[np.int64]
    """(M,) index of the most similar image that carries the given label rightly; -1 is none."""
    example_suggested: NDArray[np.int64]
    """(M,) the same of the suggested label."""


@dataclass(frozen=True, eq=False)
class Report:
    """Everything the formatters need."""

    manifest: Manifest
    rows: NDArray[np.int64]
    """(N,) manifest row of each finding."""
    sha256: NDArray[np.uint8]
    """(N, 32) content of each image."""
    findings: Findings
    skipped: tuple[Skipped, ...]
    """Manifest's and decoding's together, by row."""
    summary: Summary
    settings: dict[str, Any] = field(default_factory=dict)
    """Flat settings as given, JSON-ready."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Versions, device, network, image size, seed, data fingerprint, times a stage in seconds."""
    out: Path | None = None
    """The run directory, where there is one."""
    details: Details | None = None
    places: NDArray[np.int64] | None = None
    """(M, 2) line and column of each image of `details` in its text manifest, as in `Suspect`."""

    def suspects(self) -> list[dict[str, Any]]:
        """The ranked list as plain rows: conflicting duplicates first, then suspects; see `row`."""
        wanted = self.findings.is_suspect | (self.findings.conflict > 0)
        return [self.row(int(i)) for i in self.findings.order() if wanted[i]]

    def row(self, index: int) -> dict[str, Any]:
        """One image's findings with names instead of numbers."""
        f, classes, row = self.findings, self.manifest.classes, int(self.rows[index])
        return {
            "rank": int(f.rank[index]),
            "path": self.manifest.paths[row],
            "row": row,
            "given_label": classes[f.given[index]],
            "suggested_label": classes[f.suggested[index]],
            "is_suspect": bool(f.is_suspect[index]),
            "score": float(f.score[index]),
            "self_confidence": float(f.self_confidence[index]),
            "normalized_margin": float(f.normalized_margin[index]),
            "aum": float(f.aum[index]),
            "error_probability": float(f.error_probability[index]),
            "by_class": bool(f.by_class[index]),
            "by_noise_rate": bool(f.by_noise_rate[index]),
            "fold": int(f.fold[index]),
            "assessed": bool(f.assessed[index]),
            "conflict": int(f.conflict[index]),
            "why": f.why[index],
            "sha256": bytes(self.sha256[index]).hex(),
        }


@dataclass(frozen=True)
class Event:
    """Plain news of a stage under way; the command line draws it, everybody else may ignore it."""

    stage: str
    """scan, decode, train, detect, report, verify."""
    done: int = 0
    total: int | None = None
    """In `unit`; None while it is unknown."""
    unit: str = ""
    """files, images, epochs."""
    fold: int = 0
    """From 1, while training; 0 elsewhere."""
    folds: int = 0
    epoch: int = 0
    epochs: int = 0
    loss: float = float("nan")
    accuracy: float = float("nan")
    images_per_second: float = 0.0
    message: str = ""
    """Something to tell the user at once, such as a fallback; shown as a line of its own."""


Progress = Callable[[Event], None]


def silent(event: Event) -> None:
    """The progress callback of callers who don't care."""
