"""`report.html`: one page that shows the suspects as pictures and takes decisions, all on its own.

Names come from strangers' data sets. They reach the page only in a JSON island and enter the document only
as text nodes; the Content-Security-Policy admits nothing but the one style and the one script inlined here,
pictures from the page itself and, where there are too many for that, pictures beside it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Mapping
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from labelscrub.errors import DataError
from labelscrub.records import Report
from labelscrub.reporting.html_data import FORMAT, page_data

SCRIPTS = ("base", "decisions", "pictures", "cards", "dialog", "filters", "histogram", "overview", "main")
SERVED = "served"  # the one script that talks to somebody: `labelscrub review`, which serves it
_ISLAND = b'<script type="application/json" id="data">'


def report_html(report: Report, thumbnails: Mapping[int, bytes], beside: Collection[int] = ()) -> bytes:
    """The page as UTF-8. `thumbnails`: manifest row -> WebP bytes to embed.

    `beside`: rows whose pictures are files `report-images/ROW.webp` beside the page.
    """
    return _page(page_data(report, thumbnails, beside), served=False)


def served_page(page: bytes, run: str = "", report: str = "") -> bytes:
    """A stored report.html anew for `labelscrub review`: it sends decisions and gets pictures from there.

    `run` is the run directory as the person named it, for the command shown as the next step; `report` names
    the report (ASCII letters and digits), and comes back with all that the page asks.

    Raises:
        DataError: it is not a page of ours, or one of another version of labelscrub.
    """
    again = "run the same detect command again: it writes the report anew"
    start = page.find(_ISLAND)
    end = page.find(b"</script>", start)
    try:
        if start < 0 or end < 0:
            raise ValueError("it has no data")
        data = json.loads(page[start + len(_ISLAND) : end].decode())
    except (ValueError, RecursionError) as error:
        raise DataError(f"report.html is not a report page, or it is damaged: {error}", again) from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise DataError("report.html was written by another version of labelscrub", again)
    try:
        return _page({**data, "run": run, "report": report}, served=True)
    except KeyError as error:
        raise DataError(f"report.html is damaged: it does not say {error}", again) from error


def _page(data: Mapping[str, Any], *, served: bool) -> bytes:
    style = _asset("report.css")
    script = _script((*SCRIPTS[:-1], SERVED, SCRIPTS[-1]) if served else SCRIPTS)
    page: str = _template().render(
        title=data["title"],
        source=data["source"],
        headline=data["headline"],
        version=data["labelscrub"],
        policy=_policy(style, script, served, beside=bool(data["beside"])),
        style=style,
        script=script,
        served=served,
        data=_island({**data, "served": served}),
    )
    return page.encode()


def _policy(style: str, script: str, served: bool, beside: bool) -> str:
    """Nothing but what is inlined and the pictures; `file:` for browsers to which a file isn't 'self'."""
    pictures = "'self' data:" if served else "'self' file: data:" if beside else "data:"
    rules = [
        "default-src 'none'",
        f"img-src {pictures}",
        f"style-src {_csp_hash(style)}",
        f"script-src {_csp_hash(script)}",
        *(["connect-src 'self'"] if served else []),
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(rules)


@cache
def _template() -> Any:
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(_asset("report.html"))


@cache
def _script(names: tuple[str, ...]) -> str:
    """The scripts as one: they share their names and leave none behind."""
    parts = [_asset(f"report_{name}.js") for name in names]
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


@cache
def _asset(name: str) -> str:
    """A template as text with "\\n" line ends, as the browser sees it: what the hashes are taken of."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _csp_hash(inlined: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(inlined.encode()).digest()).decode() + "'"


def _island(data: Any) -> str:
    """JSON that can't end its script element, whatever the names hold."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text
