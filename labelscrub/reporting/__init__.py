"""Report in, bytes or text out: nothing here touches the disk or the clock.

Tables and page load on first use, so that a verdict on a stored run imports neither numpy nor pyarrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# Not lazy: the module of this name would take the function's place once anything had imported it.
from labelscrub.reporting.gates import Gate
from labelscrub.reporting.run_json import parse_run_json, run_json
from labelscrub.reporting.verdict import Verdict, judge
from labelscrub.reporting.verdict_forms import verdict_json, verdict_markdown, verdict_text

if TYPE_CHECKING:
    from labelscrub.reporting.html import report_html
    from labelscrub.reporting.suspects import read_suspects
    from labelscrub.reporting.tables import report_parquet, suspects_csv

__all__ = [
    "Gate",
    "Verdict",
    "judge",
    "parse_run_json",
    "read_suspects",
    "report_html",
    "report_parquet",
    "run_json",
    "suspects_csv",
    "verdict_json",
    "verdict_markdown",
    "verdict_text",
]

_LAZY = {
    "read_suspects": "suspects",
    "report_html": "html",
    "report_parquet": "tables",
    "suspects_csv": "tables",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'labelscrub.reporting' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"labelscrub.reporting.{_LAZY[name]}"), name)
