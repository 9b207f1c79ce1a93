"""Which loss suits these labels, told without truth: whose training ranks planted wrong labels best.

One network, the scout, is trained on four fifths of a sample and predicts the rest. Among what it agrees with
there, labels are made wrong on purpose, the same ones for all candidates. Each candidate is then trained once
on those images and most of the others, and ranks them by area under the margin, low first; its figure is
the average precision with which planted labels come first. The data's own wrong labels count as not planted,
for all candidates alike: that lowers all figures and blurs their order (MEASURED.md).

The paper has "no universally optimal parameter" (Tables 1 and 2, figure 8); this chooses one for the data.
Symbols: N images, n of them in the sample, T trained on, M planted; C candidates; B bootstrap samples.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelscrub.config import LOSS_PARAMETERS, TrainingSettings, flag
from labelscrub.errors import ModelError
from labelscrub.records import Event, Progress
from labelscrub.training.batches import Batches
from labelscrub.training.folds import assign_folds
from labelscrub.training.loop import Part, fold_seed, new_network, predict, reproducible, train_network
from labelscrub.training.plan import TrainingPlan, plan_training

MOST_IMAGES = 5_000  # in the sample
FOLDS = 5  # the scout holds out the first, the candidates the second
PLANTED = 0.1  # of the images trained on; not tuned
FEWEST_PLANTS = 30  # 400 have a standard error of 0.02: with so few, only large differences show
MOST_OF_CLASS = 0.2  # planted labels may be so many of a class's images: a small class is not drowned
SAMPLES = 400  # of the bootstrap
_SAMPLE, _PLANT, _TRAIN, _BOOTSTRAP = 201, 202, 203, 204  # seed tags: no draws shared with a fold

Arrays = dict[str, NDArray[Any]]
Remember = Callable[[str, Callable[[], Arrays]], Arrays]
"""(name, compute) -> what was stored under the name, else what `compute` returns, which is stored."""


class TooFewPlantsError(ModelError):
    """Nothing can be said about losses: too few labels could be made wrong."""


@dataclass(frozen=True)
class Candidate:
    """A loss that may be chosen."""

    loss: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    delay: int = 0
    """Epochs of cross-entropy first."""

    def __str__(self) -> str:
        with_ = " and ".join(f"{name} {value:g}" for name, value in self.parameters.items())
        return self.loss + (f" with {with_}" if with_ else "") + (f" (delay {self.delay})" * (self.delay > 0))

    def apply(self, training: TrainingSettings) -> TrainingSettings:
        """The settings with this loss, and no other's parameters."""
        names = {name for legal in LOSS_PARAMETERS.values() for name in legal}
        chosen = {name: self.parameters.get(name) for name in names}
        return replace(training, loss=self.loss, delay=self.delay, **chosen)  # type: ignore[arg-type]

    def options(self) -> tuple[str, ...]:
        """Of `labelscrub detect`: ("--loss", "pz", "--cutoff", "0.02", "--delay", "1")."""
        pairs = {"loss": self.loss, **self.parameters, **({"delay": self.delay} if self.delay else {})}
        return tuple(text for name, value in pairs.items() for text in (flag(name), f"{value}"))


# Simplest first, as the first of those that can't be told apart is taken. bl is trained as gce with q = gamma
# (see losses.blurry), so it is in here by that name.
CANDIDATES = (
    Candidate("ce"),
    *(Candidate("pz", {"cutoff": cutoff}, 1) for cutoff in (0.005, 0.02, 0.05, 0.1)),
    Candidate("pz", {"cutoff": 0.02}, 2),
    *(Candidate("gce", {"q": q}) for q in (0.1, 0.3, 0.5, 0.7)),
)


@dataclass(frozen=True)
class Tried:
    """One candidate's figures."""

    candidate: Candidate
    average_precision: float
    """Of the planted labels, ranked by area under the margin; 1 is perfect, M / T is guessing."""
    error: float
    """Its standard error, by bootstrap over images."""
    behind: float
    """Average precision of the best candidate, less this one's."""
    behind_error: float
    """Standard error of `behind`, over the same bootstrap samples: smaller than the two errors suggest."""
    seconds: float = math.nan
    """Of its training; NaN where it was not trained now. It decides nothing."""


@dataclass(frozen=True, eq=False)
class Tuning:
    """What the planted labels say."""

    aums: NDArray[np.float32]
    """(C, T) area under the margin of each image trained on, by each candidate."""
    which: NDArray[np.bool_]
    """(T,) whose label is planted."""
    tried: tuple[Tried, ...]
    """(C,) simplest first."""
    chosen: int
    """Index into `tried`."""

    @property
    def images(self) -> int:
        """T, trained on by each candidate."""
        return len(self.which)

    @property
    def planted(self) -> int:
        """M of them."""
        return int(self.which.sum())

    @property
    def choice(self) -> Candidate:
        """The candidate to train with."""
        return self.tried[self.chosen].candidate

    def sentence(self) -> str:
        """What was chosen and why, for people."""
        chosen, plain = self.tried[self.chosen], self.tried[0]
        text = f"chose {chosen.candidate}: average precision of planted wrong labels {_figure(chosen)}"
        if plain is not chosen:
            clear = "" if plain.behind > plain.behind_error else ", no clear difference"
            text += f"; {plain.candidate} has {_figure(plain)}{clear}"
        return text


def tune_loss(
    pixels: NDArray[np.uint8],  # (N, S, S, C)
    labels: NDArray[np.integer],  # (N,) class index
    groups: NDArray[np.int64] | None,  # (N,) equal numbers share a fold
    num_classes: int,
    training: TrainingSettings,
    progress: Progress,
    *,
    candidates: Sequence[Candidate] = CANDIDATES,
    remember: Remember = lambda name, compute: compute(),
) -> Tuning:
    """Train the scout and each candidate, and choose. The loss in `training` is not looked at.

    Raises:
        TooFewPlantsError: the sample is too small, or the scout agrees with too few labels.
    """
    seed = training.seed
    sample = draw_sample(labels, MOST_IMAGES, seed)
    fold = assign_folds(labels[sample], None if groups is None else groups[sample], FOLDS, seed)
    held_out, planted_in = sample[fold == 0], sample[fold != 1]
    apart = len(np.unique(fold))
    if apart < 2 or len(planted_in) * PLANTED < FEWEST_PLANTS:
        raise TooFewPlantsError(f"{len(sample):,} images in {apart} folds are too few to tune on", _FIX)
    shape = (len(sample), *pixels.shape[1:])
    plan = plan_training(candidates[0].apply(training), shape=shape, num_classes=num_classes)
    plan = replace(plan, notes=())
    news = _News(progress, trainings=1 + len(candidates))

    def scout() -> Arrays:
        return {"p": _train(pixels, labels, sample[fold != 0], held_out, plan, news)[1]}

    p = remember("tuning-scout", scout)["p"]
    rng = np.random.default_rng([seed, _PLANT])
    trained = np.bincount(labels[planted_in], minlength=num_classes)
    place, wrong = plant(p, labels[held_out], trained, round(PLANTED * len(planted_in)), rng)
    if len(place) < FEWEST_PLANTS:
        raise TooFewPlantsError(
            f"only {len(place)} labels could be made wrong to compare losses on, of {len(held_out):,} that a "
            f"network judged (it agrees with {float((p.argmax(1) == labels[held_out]).mean()):.0%} of them)",
            _FIX,
        )
    index = held_out[place]
    altered = labels.copy()
    altered[index] = wrong
    planted = np.isin(planted_in, index)
    aums, seconds = [], []
    for number, candidate in enumerate(candidates):
        own = replace(
            plan,
            loss=candidate.loss,
            parameters={**LOSS_PARAMETERS[candidate.loss], **candidate.parameters},
            delay=candidate.delay,
        )
        took = math.nan

        def tried(own: TrainingPlan = own) -> Arrays:
            nonlocal took
            began = time.monotonic()
            aum, _ = _train(pixels, altered, planted_in, planted_in[:0], own, news)
            took = time.monotonic() - began
            return {"aum": aum}

        news.number = number + 1
        aums.append(remember(f"tuning-{number}", tried)["aum"])
        seconds.append(took)
        figure = average_precisions(aums[-1], planted, np.ones((1, len(planted))))[0]
        progress(Event("train", message=f"{candidate}: average precision {figure:.3f}"))
    tuning = choose(candidates, np.stack(aums), planted, seed)
    timed = zip(tuning.tried, seconds, strict=True)
    return replace(tuning, tried=tuple(replace(tried, seconds=took) for tried, took in timed))


def draw_sample(
    labels: NDArray[np.integer],  # (N,)
    most: int,
    seed: int,
) -> NDArray[np.int64]:  # (n,) ascending
    """At most so many images, every class with its share of them."""
    order = np.random.default_rng([seed, _SAMPLE]).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    _, first, count = np.unique(labels[by_class], return_index=True, return_counts=True)
    place = np.arange(len(labels)) - np.repeat(first, count)  # among those of its class, in random order
    height = (place + 0.5) / np.repeat(count, count)
    return np.sort(by_class[np.argsort(height, kind="stable")[:most]])


def plant(
    pred_probs: NDArray[np.float32],  # (H, K) of the scout, for images it was not trained on
    given: NDArray[np.integer],  # (H,)
    trained: NDArray[np.integer],  # (K,) images of each class that the candidates train on
    number: int,  # M, where so many can be had
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:  # (M,) places in 0..H-1, (M,) the wrong label of each
    """Random images whose given label the scout predicts, with label k with probability p_k / (1 - p_given).

    Mistakes are mostly of that kind; plants with any label at all were worse to choose by (MEASURED.md).
    """
    agreed = rng.permutation(np.flatnonzero(pred_probs.argmax(axis=1) == given))[:number]
    room = (MOST_OF_CLASS * trained).astype(np.int64)
    rates = pred_probs[agreed].astype(np.float64)
    rates[:, room == 0] = 0
    rates[np.arange(len(agreed)), given[agreed]] = 0
    chosen, wrong = [], []
    for place, rate in zip(agreed[rates.any(axis=1)], rates[rates.any(axis=1)], strict=True):
        label = int(rng.choice(len(rate), p=rate / rate.sum()))
        if room[label]:
            room[label] -= 1
            chosen.append(int(place))
            wrong.append(label)
    return np.array(chosen, np.int64), np.array(wrong, np.int32)


def average_precisions(
    score: NDArray[np.floating],  # (T,) the lowest come first
    wanted: NDArray[np.bool_],  # (T,)
    weights: NDArray[np.floating],  # (B, T) how often each image is in each sample
) -> NDArray[np.float64]:  # (B,)
    """Average precision of the wanted images in each sample: sum over them of the precision at their place.

    As sklearn's average_precision_score with sample_weight, for all samples at once. Ties are one place.
    """
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    last = np.searchsorted(ranked, ranked, side="right") - 1  # of each run of equal scores
    weight = weights[:, order]
    hit = weight * wanted[order]
    found, listed = np.cumsum(hit, axis=1)[:, last], np.cumsum(weight, axis=1)[:, last]
    precision = np.divide(found, listed, out=np.zeros_like(found), where=listed > 0)
    result: NDArray[np.float64] = (hit * precision).sum(axis=1) / hit.sum(axis=1)
    return result


def choose(
    candidates: Sequence[Candidate],  # (C,) simplest first
    aums: NDArray[np.float32],  # (C, T)
    planted: NDArray[np.bool_],  # (T,)
    seed: int,
) -> Tuning:
    """The candidate with the highest average precision; of equal ones the simplest.

    Taking the simplest within a standard error of the best was tried, and cost more (MEASURED.md): the errors
    are large, and what is shown by `behind_error` is that of the difference to the best, over B bootstrap
    samples of the T images, the same for all candidates (paired): what makes a sample hard for one makes it
    hard for all.
    """
    total = len(planted)
    rng = np.random.default_rng([seed, _BOOTSTRAP])
    weights = rng.multinomial(total, np.full(total, 1 / total), size=SAMPLES).astype(np.float64)
    one = np.ones((1, total))
    point = np.array([average_precisions(aum, planted, one)[0] for aum in aums])  # (C,)
    sampled = np.stack([average_precisions(aum, planted, weights) for aum in aums])  # (C, B)
    best = int(point.argmax())
    behind, behind_error = point[best] - point, (sampled[best] - sampled).std(axis=1)
    tried = tuple(
        Tried(candidate, *map(float, figures))
        for candidate, *figures in zip(
            candidates, point, sampled.std(axis=1), behind, behind_error, strict=True
        )
    )
    return Tuning(aums, planted, tried, chosen=best)


def _train(
    pixels: NDArray[np.uint8],  # (N, S, S, C)
    labels: NDArray[np.integer],  # (N,)
    train: NDArray[np.int64],  # (T,) images to train on
    judged: NDArray[np.int64],  # (H,) images to predict
    plan: TrainingPlan,
    news: _News,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:  # (T,) area under the margin, (H, K)
    """One training; the same weights, batches and augmentation for all candidates."""
    part = Part(1, 0, kind="trial")
    with reproducible(plan, seed := fold_seed(plan, _TRAIN)):
        batches = Batches.on(torch.device(plan.device), pixels, train, imagenet=plan.imagenet)
        network = new_network(plan, plan.num_classes)
        dynamics = train_network(
            network, batches, train, labels[train], plan, seed=seed, part=part, progress=news
        )
        pred_probs = predict(network, batches, judged, plan, part)
    return dynamics.aum, pred_probs


class _News:
    """Progress over all trainings, counted as one: they are no folds."""

    def __init__(self, progress: Progress, trainings: int) -> None:
        self.progress, self.trainings, self.number = progress, trainings, 0

    def __call__(self, event: Event) -> None:
        total = event.total or 0
        done = self.number * total + event.done
        self.progress(replace(event, fold=0, folds=0, done=done, total=self.trainings * total))


def _figure(tried: Tried) -> str:
    return f"{tried.average_precision:.3f} +- {tried.error:.3f}"


_FIX = (
    f"at least {FEWEST_PLANTS} are needed, about 500 images and a network that learns the classes: give more "
    "images or epochs, or choose --loss yourself"
)
