"""What a loss does to correct and to wrong labels while the network learns (paper, figures 3, 4 and 6)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelscrub.evaluation.trials import PREDICTIONS, Trial, labels_of, trial_folder
from labelscrub.records import Event, Progress
from labelscrub.store import read_arrays

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Trace:
    """One training on all images of a data set."""

    loss: str
    """Such as "pz cutoff=0.02"."""
    p_given: NDArray[np.float32]
    """(epochs, N) probability of the given label in the pass that trained on it."""
    gradient: NDArray[np.float64]
    """(epochs, N) dL/dp there, of the loss that trained: in the epochs of the delay, cross-entropy."""
    equation_4: NDArray[np.float64] | None
    """(epochs, N) for bl: the gradient of the paper's equation 4, which is not what trains."""
    wrong: NDArray[np.bool_]
    """(N,) whether the given label is wrong."""


def run_trace(trial: Trial, trials: Path, progress: Progress, *, resume: bool) -> Trace:
    """The trial's data and settings, trained once on all images; stored when it ends."""
    import numpy as np

    from labelscrub import training
    from labelscrub.training import losses
    from labelscrub.training.trace import slope, trace_training

    given, truth = labels_of(trial, trials, progress)
    images, classes = trial.dataset.images, trial.dataset.manifest.classes
    plan = training.plan_training(
        trial.settings.training, shape=images.pixels.shape, num_classes=len(classes)
    )
    with trial_folder(trials / f"{trial.folder()}-trace", resume=resume) as run:
        run.begin({"trial": trial.folder(), "training": plan.fingerprint()})
        stored = run.get_arrays("predictions")
        if stored is None:
            for note in plan.notes:
                progress(Event("train", message=note))
            p = trace_training(images.pixels, given, len(classes), plan, progress)
            run.put_arrays("predictions", {"p_given": p})
        else:
            progress(Event("bench", message="done before"))
            p = stored["p_given"]
    known = truth != -1
    p = p[:, known]
    gradient = np.stack([slope(plan.loss_at(epoch), row) for epoch, row in enumerate(p, start=1)])
    literal = None
    if plan.loss == "bl":
        literal = slope(functools.partial(losses.blurry, gamma=plan.parameters["gamma"]), p)
    return Trace(trial.loss, p, gradient, literal, (given != truth)[known])


def margins(trial: Trial, trials: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUM of the images with a correct and with a wrong label, from a finished trial's predictions."""
    import numpy as np

    given, truth = labels_of(trial, trials)
    aum = read_arrays(trials / trial.folder() / PREDICTIONS)["aum"].astype(np.float64)
    known = truth != -1
    return aum[known & (given == truth)], aum[known & (given != truth)]
