"""The experiments file says what the paper did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelscrub.config import Settings
from labelscrub.errors import UsageError
from labelscrub.evaluation.datasets import Dataset
from labelscrub.evaluation.experiments import (
    LossSpec,
    experiments,
    find_experiment,
    parse_delays,
    parse_losses,
    parse_rates,
    trials_of,
    with_recipe,
)
from labelscrub.evaluation.noise import confusable_flips
from labelscrub.evaluation.trials import Noise, Trial
from labelscrub.records import Images, Manifest

NAMES = ["table1", "table2", "table3", "table4", "table5", "table6"]
NAMES += [f"figure{number}" for number in (3, 4, 6, 7, 8, 9, 10, 11)]
NAMES += ["calibrated"]


def dataset(name: str) -> Dataset:
    labels = np.arange(20, dtype=np.int32) % 10
    manifest = Manifest(Path(name), "csv", Path(), tuple("abcdefghij"), [""] * 20, [""] * 20, labels)
    images = Images(np.zeros((20, 28, 28, 1), np.uint8), np.arange(20), np.zeros((20, 32), np.uint8))
    return Dataset(name, manifest, images, None)


def trials(experiment: str, name: str, **settings: object) -> list[Trial]:
    found = find_experiment(experiment)
    return list(trials_of(found, dataset(name), with_recipe(found, name, Settings.of(settings))))


def test_every_experiment_of_the_issue_is_there() -> None:
    assert sorted(experiments()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_makes_valid_trials(name: str) -> None:
    found = trials(name, "fashion-mnist")
    assert found or not find_experiment(name).rates
    assert len({trial.folder() for trial in found}) == len(found)
    for trial in found:
        assert trial.settings.detection.method == find_experiment(name).method


def test_table1_is_the_papers() -> None:
    found = trials("table1", "fashion-mnist")
    assert len(found) == 7 * 4 * 20  # seven losses, four noise rates, 20 trials (paper, table 1)
    by_name = {(t.settings.training.loss, t.noise.rate, t.number): t.settings.training for t in found}
    # Paper, table 1, Fashion-MNIST: gamma 0.2 and c 0.005 at 20 % noise, 0.5 and 0.040 at 40 %.
    assert by_name["bl", 0.2, 0].gamma == 0.2
    assert by_name["pz", 0.2, 0].cutoff == 0.005
    assert by_name["bl", 0.4, 3].gamma == 0.5
    assert by_name["pz", 0.4, 3].cutoff == 0.04
    assert by_name["ce", 0.1, 0].network == "mnist-cnn"
    assert [by_name["ce", 0.1, trial].seed for trial in range(3)] == [0, 1, 2]
    assert found[0].number == found[6].number == 0  # all losses of a trial before the next trial


def test_table2_takes_what_was_best_for_balanced_accuracy() -> None:
    found = {(t.settings.training.loss, t.noise.rate): t.settings.training for t in trials("table2", "mnist")}
    assert found["bl", 0.1].gamma == 0.4  # paper, table 2: MNIST at 10 %; table 1 has 0.3
    assert found["pz", 0.1].cutoff == 0.04


def test_recipes_are_the_data_sets() -> None:
    cifar100 = trials("table1", "cifar100")[0].settings.training
    assert (cifar100.network, cifar100.weights, cifar100.lr_drop) == ("cifar-resnet34", "default", 0.2)
    cifar10 = {trial.settings.training.loss: trial.settings.training for trial in trials("table1", "cifar10")}
    anl = cifar10["anl-fl"]
    assert (anl.alpha, anl.beta, anl.l1) == (5, 5, 5e-5)  # METHOD.md, from Ye et al. 2023
    aum = trials("table6", "cifar100")[0].settings.training
    assert (aum.network, aum.weights, aum.lr_drop) == ("aum-resnet34", "none", 1.0)
    assert trials("table6", "fashion-mnist")[0].settings.training.network == "mnist-cnn"
    photos = trials("table5", "./photos")[0].settings.training
    assert (photos.network, photos.image_size) == ("resnet50", 224)


def test_a_network_of_ones_own_brings_its_own_recipe() -> None:
    training = trials("table1", "cifar100", network="fast", epochs=3)[0].settings.training
    assert (training.network, training.weights, training.epochs) == ("fast", "none", 3)
    assert training.lr_drop is None
    kept = trials("table1", "cifar100", epochs=3)[0].settings.training
    assert (kept.network, kept.epochs) == ("cifar-resnet34", 3)


def test_other_data_takes_the_guides_parameters() -> None:
    jobs = trials("table1", "./mine")
    found = {(job.settings.training.loss, job.noise.rate): job.settings.training for job in jobs}
    assert found["pz", 0.3].cutoff == 0.04
    assert found["bl", 0.1].gamma == 0.3
    assert found["gce", 0.1].q is None


def test_labels_that_came_wrong_take_the_parameters_of_their_share() -> None:
    """Paper, table 4: CIFAR-10N with 9 % wrong: gamma 0.7, c 0.08; with 40 %: 0.9 and 0.15."""
    table4 = find_experiment("table4")
    for wrong, expected in ((9, (0.7, 0.08)), (40, (0.9, 0.15))):
        labels = np.arange(100, dtype=np.int32) % 10
        truth = np.where(np.arange(100) < wrong, (labels + 1) % 10, labels).astype(np.int32)
        few = dataset("cifar10")
        manifest = Manifest(Path(), "csv", Path(), few.manifest.classes, [""] * 100, [""] * 100, labels)
        images = Images(np.zeros((100, 8, 8, 3), np.uint8), np.arange(100), np.zeros((100, 32), np.uint8))
        named = Dataset("cifar10", manifest, images, truth)
        jobs = trials_of(table4, named, with_recipe(table4, "cifar10", Settings()))
        found = {job.settings.training.loss: job.settings.training for job in jobs}
        assert (found["bl"].gamma, found["pz"].cutoff) == expected


def test_delays_and_sweeps_multiply() -> None:
    found = trials("figure11", "cifar100")
    pz = [t for t in found if t.settings.training.loss == "pz"]
    assert len(pz) == 4 * 3 * 5
    assert {t.settings.training.delay for t in pz} == {0, 1, 2, 3, 5}
    assert len(found) - len(pz) == 4  # cross-entropy has no delay


def test_the_folder_says_what_decides_and_nothing_else() -> None:
    one = trials("table1", "fashion-mnist")[0]
    assert one.folder().startswith("fashion-mnist-uniform-0.1-ce-1-")
    same = trials("table1", "fashion-mnist", device="cpu", max_pixels=1000)[0]
    assert same.folder() == one.folder()
    for other in ({"seed": 3}, {"epochs": 3}, {"lr": 0.1}, {"folds": 4}, {"filter": "by-class"}):
        assert trials("table1", "fashion-mnist", **other)[0].folder() != one.folder()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cee", "unknown loss 'cee'"),
        ("pz:gamma=1", "pz has no parameter 'gamma'"),
        ("pz:cutoff=x", "cutoff of pz is 'x', not a number"),
        ("ce:q=1", "ce has no parameter 'q'"),
    ],
)
def test_bad_losses_are_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_losses(f"ce,{text}")


def test_losses_and_rates_as_written() -> None:
    names = ("ce", "pz:cutoff=0.02", "anl-ce:alpha=1:beta=2")
    assert parse_losses("ce, pz:cutoff=0.02,anl-ce:alpha=1:beta=2") == names
    assert LossSpec.parse("anl-ce:alpha=1:beta=2") == LossSpec("anl-ce", {"alpha": 1.0, "beta": 2.0})
    assert parse_rates("0.1,0.25") == (0.1, 0.25)
    for bad in ("", "x", "0", "1", "0.1,-0.2", "nan"):
        with pytest.raises(UsageError, match="--rates"):
            parse_rates(bad)
    assert parse_delays("0,2") == (0, 2)
    for bad in ("", "x", "1.5", "-1"):
        with pytest.raises(UsageError, match="--delays"):
            parse_delays(bad)
    with pytest.raises(UsageError, match="names no loss"):
        parse_losses(" ,")


def test_calibrated_is_every_kind_of_noise_and_none() -> None:
    found = trials("calibrated", "fashion-mnist")
    rates = find_experiment("calibrated").rates
    planted = [Noise(kind, rate) for kind in ("uniform", "pair", "confusable") for rate in rates]
    assert [trial.noise for trial in found if trial.number == 0] == [Noise("none", 0), *planted]
    training = found[0].settings.training
    assert (training.loss, training.network) == ("ce", "auto")  # detect's, not the paper's
    assert len({trial.folder() for trial in found}) == len(found)


def test_one_reference_for_all_confusable_trials_of_the_same_settings() -> None:
    found = [*trials("calibrated", "mnist"), *trials("calibrated", "mnist", seed=7)]
    confusable = [trial for trial in found if trial.noise.kind == "confusable"]
    assert all(trial.reference is None for trial in found if trial not in confusable)
    assert len({trial.settings.training.seed for trial in confusable}) > 3
    (folder,) = {trial.reference.folder() for trial in confusable if trial.reference}
    reference = confusable[-1].reference
    assert reference is not None and (reference.noise, reference.number) == (Noise("none", 0.0), 0)
    training, method = reference.settings.training, reference.settings.detection.method
    assert (training.loss, training.seed, method) == ("ce", 0, "cl")
    (other,) = {t.reference.folder() for t in trials("calibrated", "mnist", epochs=9) if t.reference}
    assert other != folder
    with pytest.raises(ValueError, match="reference"):
        confusable[0].labels()


def test_confusable_flips_are_of_the_true_labels_and_the_trials_seed() -> None:
    job = next(t for t in trials("calibrated", "mnist", seed=3) if t.noise.kind == "confusable")
    pred_probs = np.random.default_rng(0).dirichlet(np.ones(10), 20).astype(np.float32)
    given, truth = job.labels(pred_probs)
    expected = confusable_flips(truth, pred_probs, job.noise.rate, 3)
    np.testing.assert_array_equal(given, expected)
    assert (given != truth).sum() == round(job.noise.rate * 20)


def test_an_unknown_experiment_gets_a_hint() -> None:
    with pytest.raises(UsageError) as caught:
        find_experiment("tabel1")
    assert "table1" in caught.value.fix
