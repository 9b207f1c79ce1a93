"""The transition matrix T(k, g) = P(given g | true k), and probabilities of true labels without it.

Symbols: N images, K classes, p (N, K) probabilities of the given labels, q (N, K) of the true ones: p = q T.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln

Floats = NDArray[np.float64]

SMALLEST = 1e-6  # probability: below, float32 softmax has lost what it was
TEMPERATURES = np.geomspace(0.4, 4.0, 24)
ANCHOR_SHARE = 0.15  # of the images predicted as a class: those the network is surest of
FEWEST_ANCHORS = 10  # a class, where it has as many
CONCENTRATIONS = np.geomspace(0.3, 1e4, 24)
ITERATIONS = 60


def temper(p: Floats, labels: NDArray[np.integer]) -> float:
    """The temperature t with the largest likelihood of labels under softmax(log p / t) (Guo et al. 2017)."""
    at = np.arange(len(p))
    log_p = np.log(p + SMALLEST)

    def likelihood(t: float) -> float:
        scaled = log_p / t
        scaled -= scaled.max(axis=1, keepdims=True)
        return float((scaled[at, labels] - np.log(np.exp(scaled).sum(axis=1))).sum())

    return float(max(TEMPERATURES, key=likelihood))


def raised(p: Floats, power: float) -> Floats:
    """p^power, each row divided by its sum; 1 / temperature and sharpening alike."""
    scaled: Floats = np.log(p + SMALLEST) * power
    scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled


def confidence(p: Floats) -> Floats:
    """(N,) log of the largest probability over the second largest."""
    two = np.partition(p, p.shape[1] - 2, axis=1)[:, -2:] + 1e-4
    return np.log(two[:, 1]) - np.log(two[:, 0])


def anchor_counts(
    p: Floats,  # (N, K)
    labels: NDArray[np.integer],  # (N,)
) -> Floats:  # (K, K)
    """How often images that the network is surest are of class k (row) are given label g (column).

    Of the images predicted as k: the `ANCHOR_SHARE` of them with the largest `confidence` (anchor points,
    Patrini et al. 2017, but counted on labels the network has not seen rather than read off one image).
    """
    num_classes = p.shape[1]
    top = p.argmax(axis=1)
    others = p.copy()
    others[np.arange(len(p)), top] = 0
    sure = -others.sum(axis=1)  # 1 - 1e-9 is 1 in float32, the others are not 0
    counts = np.zeros((num_classes, num_classes))
    for k in range(num_classes):
        members = np.flatnonzero(top == k)
        number = max(FEWEST_ANCHORS, round(ANCHOR_SHARE * len(members)))
        anchors = members[np.argsort(-sure[members], kind="stable")[:number]]
        counts[k] = np.bincount(labels[anchors], minlength=num_classes)
    return counts


def transition_matrix(counts: Floats) -> Floats:  # (K, K) -> (K, K)
    """T with rows that sum to 1, from the counts of `anchor_counts`.

    Row k: with n_k anchors of which m_k are given another label, noise rate
    r_k = (m_k + c r) / (n_k + c), r the rate over all classes: a Beta prior of mean r and concentration c.
    The others share it as T(k, g) = r_k (count(k, g) + b / (K - 1)) / (m_k + b): a symmetric Dirichlet prior
    of concentration b. Both concentrations are those of the largest marginal likelihood over all rows
    (beta-binomial, Dirichlet-multinomial; empirical Bayes): even noise gets large ones and even rows,
    structured noise (cat for dog) small ones and keeps its structure.
    """
    num_classes = len(counts)
    others = counts.copy()
    np.fill_diagonal(others, 0)
    n, m = counts.sum(axis=1), others.sum(axis=1)
    off = ~np.eye(num_classes, dtype=bool)

    overall = (m.sum() + 0.5) / (n.sum() + 1)

    def of_rates(c: float) -> float:
        a, d = c * overall, c * (1 - overall)
        return float((betaln(m + a, n - m + d) - betaln(a, d)).sum())

    def of_shares(b: float) -> float:
        share = b / (num_classes - 1)
        rows = gammaln(b) - gammaln(b + m)
        cells = np.where(off, gammaln(others + share) - gammaln(share), 0)
        return float(rows.sum() + cells.sum())

    b, c = (float(max(CONCENTRATIONS, key=marginal)) for marginal in (of_shares, of_rates))
    rate = (m + c * overall) / (n + c)
    matrix: Floats = np.where(off, (others + b / (num_classes - 1)) / (m + b)[:, None] * rate[:, None], 0)
    matrix[np.diag_indices(num_classes)] = 1 - rate
    return matrix


def deconvolve(p: Floats, transition: Floats) -> Floats:  # (N, K), (K, K) -> (N, K)
    """q with q T near p: `ITERATIONS` EM steps up sum_g p(g) log (q T)(g), each row for itself.

    q(k) <- q(k) sum_g T(k, g) p(g) / (q T)(g) (Richardson 1972, Lucy 1974): stays a distribution, never
    lowers the likelihood, and leaves p where T is the identity. Starts from p.
    """
    q = p.copy()
    for _ in range(ITERATIONS):
        q *= (p / np.maximum(q @ transition, 1e-12)) @ transition.T
        q /= q.sum(axis=1, keepdims=True)
    return q


def wrong(q: Floats, transition: Floats, labels: NDArray[np.integer]) -> Floats:  # (N,)
    """P(true label is another | image, given label g) = 1 - q(g) T(g, g) / (q T)(g)."""
    at = np.arange(len(q))
    right = q[at, labels] * transition[labels, labels]
    given = np.einsum("ik,ik->i", q, transition.T[labels])  # (q T)(g)
    error: Floats = np.clip(1 - right / np.maximum(given, 1e-12), 0, 1)
    return error
