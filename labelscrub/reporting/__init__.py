"""Report in, bytes or text out: nothing here touches the disk or the clock.

All but run_json loads on first use: a verdict on a stored run imports neither numpy nor pyarrow, and `--help`
not even the verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# Not lazy: the module of this name would take the function's place once anything had imported it.
from labelscrub.reporting.run_json import parse_run_json, run_json

if TYPE_CHECKING:
    from labelscrub.reporting.gates import Gate
    from labelscrub.reporting.html import report_html
    from labelscrub.reporting.suspects import read_suspects
    from labelscrub.reporting.tables import report_parquet, suspects_csv
    from labelscrub.reporting.verdict import Verdict, judge
    from labelscrub.reporting.verdict_forms import verdict_json, verdict_markdown, verdict_text

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
    "Gate": "gates",
    "Verdict": "verdict",
    "judge": "verdict",
    "verdict_json": "verdict_forms",
    "verdict_markdown": "verdict_forms",
    "verdict_text": "verdict_forms",
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
