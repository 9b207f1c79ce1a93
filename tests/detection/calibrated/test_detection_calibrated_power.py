"""The power: what the likelihood picks on data of known sharpness, and where gains move it."""

from __future__ import annotations

import numpy as np
import pytest
from calibrated_cases import Floats, Ints, draws, pair, uniform

from labelscrub.detection.calibrated.gain import Gains
from labelscrub.detection.calibrated.power import POWERS, RIGHT_GAIN, Power, choose_power
from labelscrub.detection.calibrated.transition import raised, wrong

STEP = POWERS[1] / POWERS[0]


def drawn(n: int, transition: Floats, seed: int = 0) -> tuple[Floats, Ints, Ints]:
    """(N, K) beliefs that are exactly right, given labels, true labels."""
    rng = np.random.default_rng(seed)
    q = rng.dirichlet(np.full(len(transition), 0.3), n)
    true = draws(q, rng)
    return q, draws(transition[true], rng), true


def gain_of(values: Floats, *, plants: int = 100_000) -> Gains:
    """So many plants that the mean gain is as good as its images."""
    return Gains(values, np.zeros((len(values), 4)), np.zeros((4, 4)), plants)


def with_gains(q: Floats, t: Floats, labels: Ints, values: Floats) -> Power:
    return choose_power(q, t, labels, gain_of(values), (q @ t).argmax(axis=1) != labels)


@pytest.mark.parametrize(
    "transition", [uniform(5, 0.2), pair(5, 0.2), uniform(2, 0.1)], ids=["even", "pair", "2"]
)
@pytest.mark.parametrize("power", [1.0, 2.0, 4.0])
def test_the_likeliest_power_undoes_what_made_the_beliefs_flat(transition: Floats, power: float) -> None:
    q, labels, _ = drawn(4000, transition)
    found = choose_power(raised(q, 1 / power), transition, labels, None, np.ones(4000, bool))
    # Noise hides part of what labels say of q: 15 % is three standard errors here.
    assert found.likeliest == pytest.approx(power, rel=0.15)


def test_the_likeliest_power_is_the_best_of_the_grid() -> None:
    t = uniform(4, 0.3)
    q, labels, _ = drawn(300, t)
    q = raised(q, 0.4)

    def likelihood(a: float) -> float:
        total = 0.0
        for row, g in zip(q, labels, strict=True):
            sharp = row**a / (row**a).sum()
            total += np.log(sum(sharp[k] * t[k, g] for k in range(4)))
        return total

    found = choose_power(q, t, labels, None, np.ones(300, bool))
    assert found.likeliest == max(POWERS, key=likelihood)
    assert POWERS[0] < found.likeliest < POWERS[-1]


def test_without_gains_the_likelihood_alone() -> None:
    t = uniform(5, 0.2)
    q, labels, _ = drawn(500, t)
    nobody = np.zeros(500, bool)
    for power in (
        choose_power(q, t, labels, None, ~nobody),
        choose_power(q, t, labels, gain_of(np.zeros(500)), nobody),  # none that the network disagrees with
    ):
        assert power.likeliest == power.chosen == power.low
        assert power.high == POWERS[-1]  # nothing says that it is enough


@pytest.mark.parametrize("level", [-2.0, 0.0, 0.5 * RIGHT_GAIN, RIGHT_GAIN, 2.0])
def test_gains_only_ever_sharpen(level: float) -> None:
    t = uniform(5, 0.2)
    q, labels, _ = drawn(1500, t)
    values = level + np.random.default_rng(1).normal(size=1500)
    found = with_gains(raised(q, 0.5), t, labels, values)
    assert found.likeliest <= found.low <= found.chosen <= found.high
    assert found.likeliest == with_gains(raised(q, 0.5), t, labels, -values).likeliest  # not theirs to say


def test_gains_of_wrong_labels_sharpen_and_those_of_right_ones_do_not() -> None:
    """Beliefs that fit the labels exactly, so that the likelihood has nothing against them."""
    t = uniform(5, 0.05)
    q, labels, _ = drawn(1500, t)
    noise = 0.1 * np.random.default_rng(1).normal(size=1500)
    right, wrong_ones = (with_gains(q, t, labels, level + noise) for level in (RIGHT_GAIN, 0))
    assert right.chosen == right.likeliest
    assert wrong_ones.chosen > 1.5 * wrong_ones.likeliest
    assert wrong_ones.low > wrong_ones.likeliest


def test_the_share_of_wrong_labels_that_gains_tell_is_met() -> None:
    """More of the disagreeing are wrong than the likelihood finds: error probabilities rise to that."""
    t = uniform(5, 0.05)
    n = 4000
    q, labels, _ = drawn(n, t)
    disagrees = (q @ t).argmax(axis=1) != labels
    start = choose_power(q, t, labels, None, disagrees).likeliest

    def share_at(power: float) -> float:
        return float(wrong(raised(q, power), t, labels)[disagrees].mean())

    rng = np.random.default_rng(1)
    is_wrong = rng.random(n) < share_at(start) + 0.2
    share = float(is_wrong[disagrees].mean())
    found = with_gains(q, t, labels, RIGHT_GAIN * ~is_wrong + 0.05 * rng.normal(size=n))
    assert share_at(start) + 0.1 < share_at(found.chosen) < share + 0.01  # the prior holds it back a little
    assert share_at(found.low) < share < share_at(found.high)


def test_few_images_say_less_than_many() -> None:
    """Standard error: from the images' scatter, and from the plants."""
    t = uniform(5, 0.05)
    q, labels, _ = drawn(3000, t)
    disagrees = (q @ t).argmax(axis=1) != labels
    values = np.random.default_rng(1).normal(size=3000)
    sure = choose_power(q, t, labels, gain_of(values), disagrees)
    unsure = choose_power(q, t, labels, gain_of(values, plants=4), disagrees)
    assert unsure.chosen < sure.chosen
    assert unsure.low < sure.low


def test_what_the_surely_wrong_gain_is_what_wrong_labels_gain() -> None:
    """Wrong labels that are easier to tell than planted ones: half way to theirs is half of them wrong."""
    t = uniform(5, 0.2)
    rng = np.random.default_rng(0)
    n = 2000
    true = rng.integers(0, 5, n)
    q = np.where(np.arange(n)[:, None] < n // 2, raised(np.eye(5)[true], 1.0), 0.0)
    q[n // 2 :] = rng.dirichlet(np.full(5, 0.5), n - n // 2)
    labels = draws(t[true], rng)
    labels[n // 2 :] = draws(q[n // 2 :] @ t, rng)
    disagrees = (q @ t).argmax(axis=1) != labels
    first = choose_power(q, t, labels, None, disagrees).likeliest
    surely = wrong(raised(q, first), t, labels) > 0.95
    assert (surely & disagrees).sum() > 150
    easy = np.where(surely, -2.0, -0.9) + 0.1 * rng.normal(size=n)
    plain = np.where(surely, 0.0, -0.9) + 0.1 * rng.normal(size=n)
    # The doubtful gain the same in both: beside wrong labels at -2 they look less wrong than beside 0.
    assert with_gains(q, t, labels, easy).chosen < with_gains(q, t, labels, plain).chosen


def test_most_is_what_the_gains_leave_possible() -> None:
    t = uniform(5, 0.2)
    q, labels, _ = drawn(1500, t)
    everybody = np.ones(1500, bool)
    found = {
        level: choose_power(q, t, labels, gain_of(np.full(1500, level)), everybody).most
        for level in (-1, 0.2, 2)
    }
    assert found[-1] == 1 > found[0.2] > 0.5 * RIGHT_GAIN > found[2] == 0
    assert choose_power(q, t, labels, None, everybody).most == 1
