"""What the probabilities say of each image, against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from detection_cases import noisy

from labelscrub.detection import chunks
from labelscrub.detection.score import margins


@pytest.mark.parametrize("values", [1, 20, 1 << 20])
@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("num_classes", [2, 7])
def test_margins(
    monkeypatch: pytest.MonkeyPatch, values: int, decimals: int | None, num_classes: int
) -> None:
    """Rounded, many classes are equally probable: the first of them counts."""
    monkeypatch.setattr(chunks, "CHUNK_VALUES", values)
    monkeypatch.setattr(chunks, "cores", lambda: 2)
    probs, labels, _ = noisy(120, num_classes, 0.3, sharpness=1.5)
    probs = probs if decimals is None else probs.round(decimals)
    before = probs.copy()
    found = margins(probs, labels)
    np.testing.assert_array_equal(probs, before)
    for i, row in enumerate(probs.tolist()):
        others = [k for k in range(num_classes) if k != labels[i]]
        assert found.predicted[i] == max(range(num_classes), key=lambda k: row[k])
        assert found.other[i] == max(others, key=lambda k: row[k])
        assert found.p_given[i] == row[labels[i]]
        assert found.p_other[i] == row[found.other[i]]
