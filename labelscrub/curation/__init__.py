"""From a report to a cleaned data set. The source itself is never altered.

pyarrow loads with the first Parquet file, not with this package.
"""

from labelscrub.curation.clean import clean_suffix, kept_rows, write_clean
from labelscrub.curation.decisions import read_decisions, settle
from labelscrub.curation.location import locate
from labelscrub.curation.select import SuspectTable, changed_rows, needs_confirmation, read_report, select

__all__ = [
    "SuspectTable",
    "changed_rows",
    "clean_suffix",
    "kept_rows",
    "locate",
    "needs_confirmation",
    "read_decisions",
    "read_report",
    "select",
    "settle",
    "write_clean",
]
