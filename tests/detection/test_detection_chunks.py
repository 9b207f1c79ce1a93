"""Chunks, threads, and what is found by going over a matrix in both."""

from __future__ import annotations

import numpy as np
import pytest

from labelscrub.detection import chunks


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9])
@pytest.mark.parametrize("num_classes", [0, 1, 3, 100])
def test_chunks_hold_every_row_once(monkeypatch: pytest.MonkeyPatch, rows: int, num_classes: int) -> None:
    monkeypatch.setattr(chunks, "CHUNK_VALUES", 12)
    parts = chunks.row_chunks(rows, num_classes)
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(rows))
    assert all((part.stop - part.start) * num_classes <= max(12, num_classes) for part in parts)


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order_and_errors_come_through(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(chunks, "cores", lambda: threads)
    assert chunks.in_threads(lambda part: part * part, range(50)) == [part * part for part in range(50)]
    assert chunks.in_threads(lambda part: part, []) == []
    with pytest.raises(ZeroDivisionError):
        chunks.in_threads(lambda part: 1 // (part - 20), range(50))


@pytest.mark.parametrize("values", [1, 12, 1000])
def test_a_class_is_known_where_any_image_has_a_probability(
    monkeypatch: pytest.MonkeyPatch, values: int
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_VALUES", values)
    probs = np.zeros((9, 5), np.float32)
    probs[:, 0] = 1
    probs[8, 3] = 1e-30
    assert chunks.known_classes(probs).tolist() == [True, False, False, True, False]
    assert chunks.known_classes(probs[:0]).tolist() == [False] * 5
    assert chunks.known_classes(np.asfortranarray(probs)).tolist() == [True, False, False, True, False]
