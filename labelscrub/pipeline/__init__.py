"""The one place where the stages meet: a source and settings -> a Report and a run directory.

Each job imports the stages it needs when it is called: `labelscrub check` on a stored run loads neither torch
nor pyarrow.
"""

from labelscrub.pipeline.cleaning import prune
from labelscrub.pipeline.exporting import Exported, export
from labelscrub.pipeline.finding import detect
from labelscrub.pipeline.gating import check
from labelscrub.pipeline.linting import lint
from labelscrub.pipeline.pruning import Pruned
from labelscrub.pipeline.publishing import need_listing, parse_forms, publish
from labelscrub.pipeline.reviewing import review
from labelscrub.pipeline.undoing import undo

__all__ = [
    "Exported",
    "Pruned",
    "check",
    "detect",
    "export",
    "lint",
    "need_listing",
    "parse_forms",
    "prune",
    "publish",
    "review",
    "undo",
]
