"""Losses, networks, folds: labelled images in, Predictions out. `labelscrub.training.losses` stands alone."""

from labelscrub.training.fold import FoldResult, combine, train_fold
from labelscrub.training.folds import assign_folds
from labelscrub.training.judge import learnt_classes, train_and_judge
from labelscrub.training.plan import TrainingPlan, plan_training
from labelscrub.training.planting import no_plants, plan_plants
from labelscrub.training.side_by_side import train_side_by_side
from labelscrub.training.stored import predictions_from_arrays, predictions_to_arrays
from labelscrub.training.threshold import RUNS as THRESHOLD_RUNS
from labelscrub.training.threshold import combine_threshold_runs, threshold_sets, train_threshold_run

__all__ = [
    "THRESHOLD_RUNS",
    "FoldResult",
    "TrainingPlan",
    "assign_folds",
    "combine",
    "combine_threshold_runs",
    "learnt_classes",
    "no_plants",
    "plan_plants",
    "plan_training",
    "predictions_from_arrays",
    "predictions_to_arrays",
    "threshold_sets",
    "train_and_judge",
    "train_fold",
    "train_side_by_side",
    "train_threshold_run",
]
