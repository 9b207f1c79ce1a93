"""From a report to a cleaned data set. Nothing of the user's is overwritten or deleted; moves can be undone.

pyarrow loads with the first Parquet file, not with this package.
"""

from labelscrub.curation.clean import clean_suffix, kept_rows, new_labels, write_clean
from labelscrub.curation.decisions import read_decisions, settle
from labelscrub.curation.exchanged import read_any_decisions
from labelscrub.curation.location import first_rows, locate
from labelscrub.curation.plan import chosen_suspects, class_numbers, decided, strange_sentence
from labelscrub.curation.select import SuspectTable, changed_rows, needs_confirmation, read_report, select

__all__ = [
    "SuspectTable",
    "changed_rows",
    "chosen_suspects",
    "class_numbers",
    "clean_suffix",
    "decided",
    "first_rows",
    "kept_rows",
    "locate",
    "needs_confirmation",
    "new_labels",
    "read_any_decisions",
    "read_decisions",
    "read_report",
    "select",
    "settle",
    "strange_sentence",
    "write_clean",
]
