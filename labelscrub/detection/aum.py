"""Area under the margin with threshold samples (Pleiss et al. 2020: "Identifying Mislabeled Data using the
Area Under the Margin Ranking"; Hard Samples, Bad Labels, section 3.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def propose(
    aum: NDArray[np.float32],  # (N,) in logits
    threshold: NDArray[np.float32],  # (N,) 99th percentile of the threshold samples in the image's run
    labels: NDArray[np.integer],  # (N,)
    assessed: NDArray[np.bool_],  # (K,) classes that can be judged
) -> NDArray[np.bool_]:
    """(N,) images that were learnt no better than an image whose label is wrong by construction."""
    proposed: NDArray[np.bool_] = (aum < threshold) & assessed[labels]
    return proposed


def noise_rates(
    proposed: NDArray[np.bool_],  # (N,)
    labels: NDArray[np.integer],  # (N,)
    assessed: NDArray[np.bool_],  # (K,)
) -> tuple[float, NDArray[np.float64]]:
    """Share of the assessed images that are proposed: over all, and by class (K,), NaN if not assessed."""
    counts = np.bincount(labels, minlength=len(assessed))
    flagged = np.bincount(labels[proposed], minlength=len(assessed))
    rates = np.full(len(assessed), np.nan)
    rates[assessed] = flagged[assessed] / counts[assessed]
    return float(flagged.sum() / counts[assessed].sum()), rates
