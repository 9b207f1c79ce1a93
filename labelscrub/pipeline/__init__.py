"""The one place where the stages meet: a source and settings -> a Report and a run directory.

Each job imports the stages it needs when it is called: `labelscrub check` on a stored run loads neither torch
nor pyarrow.
"""

from labelscrub.pipeline.cleaning import Pruned, prune
from labelscrub.pipeline.finding import detect
from labelscrub.pipeline.gating import check

__all__ = ["Pruned", "check", "detect", "prune"]
