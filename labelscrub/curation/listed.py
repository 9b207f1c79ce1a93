"""The listed images of a run as a review sees them: decisions about them made, and found again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labelscrub.curation.decisions import last_words
from labelscrub.review_records import Choice, Decision, Suspect


class Listed:
    """Suspects and conflicting duplicates, by row and by what a decision is about."""

    def __init__(self, suspects: Iterable[Suspect]) -> None:
        self._by_row = {suspect.row: suspect for suspect in suspects}
        self._by_content: dict[tuple[str, str], list[int]] = {}
        for suspect in self._by_row.values():
            if suspect.sha256:
                self._by_content.setdefault((suspect.sha256, suspect.given_label), []).append(suspect.row)

    def __contains__(self, row: object) -> bool:
        return row in self._by_row

    def decision(self, row: int, choice: Choice, label: str) -> Decision:
        """A decision about a listed row, with all that finds its image again in another run."""
        about = self._by_row[row]
        return Decision(row, choice, label, about.given_label, about.path, about.sha256)

    def placed(self, decisions: Iterable[Decision]) -> list[tuple[int, Decision]]:
        """Decisions with the listed rows they hold for: as `decisions.settle` has it where each is applied
        over those before it. Of several about one thing only the last is placed.
        """
        return [(row, decision) for decision in last_words(decisions) for row in self._rows_of(decision)]

    def _rows_of(self, decision: Decision) -> Sequence[int]:
        """The listed rows that a decision holds for.

        Its own row, where that still is what it is about; else those with this image under this label. So a
        journal that is older than the run, after rows came and went, is shown where it belongs.
        """
        about = self._by_row.get(decision.row)
        if (
            about is not None
            and about.given_label == decision.given_label
            and decision.sha256 in ("", about.sha256)
            and decision.path in ("", about.path)
        ):
            return (decision.row,)
        return self._by_content.get((decision.sha256, decision.given_label), ())
