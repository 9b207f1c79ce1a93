"""labelscrub: find the wrong labels in an image data set.

>>> import labelscrub
>>> report = labelscrub.detect("./images", loss="pz", cutoff=0.05)  # doctest: +SKIP
>>> report.suspects()[0]["path"], report.summary.estimated_noise_rate  # doctest: +SKIP

Importing this package does not load torch; it comes with the first call that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Report",
    "Settings",
    "__version__",
    "check",
    "detect",
    "export",
    "lint",
    "prune",
    "review",
    "undo",
]

if TYPE_CHECKING:
    from labelscrub.config import Settings
    from labelscrub.pipeline import check, detect, export, lint, prune, review, undo
    from labelscrub.records import Report

_LAZY = {
    **dict.fromkeys(
        ("check", "detect", "export", "lint", "prune", "review", "undo"), "labelscrub.pipeline"
    ),  # each does what the command of its name does
    "Report": "labelscrub.records",
    "Settings": "labelscrub.config",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'labelscrub' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
