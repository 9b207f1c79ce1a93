"""`review`: the report page of a finished run, served to one's own browser, each decision kept at once."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from labelscrub.config import Settings
from labelscrub.errors import EnvironmentProblem, LabelscrubError, UsageError
from labelscrub.records import Event, Progress, silent

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp

    from labelscrub.curation import SuspectTable
    from labelscrub.data.pictures import Pictures

DECISIONS = "decisions.jsonl"  # the user's: not among the outputs that --restart deletes


@dataclass(frozen=True, eq=False)
class ReviewServer:
    """A review that is ready to be served."""

    url: str
    """With the token: for a person to open."""
    single_url: str
    """Works once: for a browser that is started with it, which every user of the machine may see."""
    journal: Path
    app: ASGIApp
    listener: socket.socket
    """Bound to 127.0.0.1; connections wait in it until `serve`."""

    def serve(self, ready: Callable[[], None] = lambda: None) -> None:
        """Answer until SIGINT or SIGTERM; `ready` is called once connections and signals are waited for."""
        from labelscrub.curation.serving import serve

        serve(self.app, self.listener, ready)


def review(
    run: str | Path = "labelscrub-out",
    *,
    port: int = 0,
    source: str | Path | None = None,
    progress: Progress = silent,
) -> ReviewServer:
    """The page of a finished run, for a person to decide on; what `labelscrub review` does.

    Decisions are appended to `decisions.jsonl` in the run directory. The page opens also where images are
    gone or have changed since the run; these have no picture.

    Args:
        run: a finished run's directory.
        port: of 127.0.0.1; 0 takes a free one, the same each time if it can.
        source: where the source is now, if it has moved.
    Raises:
        UsageError: no finished run, edited results.
        DataError: a damaged journal; or `source` is given and can't be read.
        EnvironmentProblem: Starlette or uvicorn is not installed; the port is taken; the journal can't be
            written.
    """
    server, serving = _web_modules()
    from labelscrub import curation, reporting
    from labelscrub.curation.journal import Journal
    from labelscrub.curation.listed import Listed
    from labelscrub.reporting.html import served_page
    from labelscrub.store import RunDirectory, read_run

    folder = Path(run)
    with RunDirectory.open(folder, finished=True) as directory:
        stored = reporting.parse_run_json(read_run(folder))
        directory.verify_outputs(stored)
        stored_page = _stored_page(folder)
        report = hashlib.sha256(stored_page).hexdigest()
        page = served_page(stored_page, str(folder), report)
        suspects = reporting.read_suspects(folder / "report.parquet")
        table = curation.read_report(folder / "report.parquet")
        journal = Journal.open(folder / DECISIONS)
    if journal.mended:
        progress(Event("scan", message=journal.mended))
    pictures = _pictures(stored, table, source, progress)
    listener = serving.listen(port) if port else serving.listen_for(folder)
    port = listener.getsockname()[1]
    token, once = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    here = f"http://{serving.HOST}:{port}/?token="
    app = server.review_app(
        server.Review(
            page=page,
            journal=journal,
            listed=Listed(suspects),
            classes=_classes(stored, table),
            thumbnail=pictures.thumbnail if pictures else _no_picture,
            image=pictures.image if pictures else _no_picture,
            report=report,
        ),
        token,
        port,
        once=once,
    )
    return ReviewServer(here + token, here + once, journal.path, app, listener)


def _web_modules() -> tuple[ModuleType, ModuleType]:
    """`curation.server` and `curation.serving`, which need the extra."""
    try:
        from labelscrub.curation import server, serving
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("labelscrub"):
            raise
        raise EnvironmentProblem(
            f"labelscrub review needs {error.name}, which is not installed",
            "pip install 'labelscrub[review]'",
        ) from error
    return server, serving


def _stored_page(folder: Path) -> bytes:
    try:
        return (folder / "report.html").read_bytes()
    except FileNotFoundError as error:
        fix = "run the same detect command again: it writes the report anew"
        raise UsageError(f"there is no report.html in {folder}", fix) from error


def _classes(stored: dict[str, Any], table: SuspectTable) -> frozenset[str]:
    """Every class of the data set as the report shows it, also those that no image is of."""
    named = (c.get("label") for c in stored["summary"].get("classes") or () if isinstance(c, dict))
    return frozenset(label for label in (*named, *table.labels) if isinstance(label, str))


def _pictures(
    stored: dict[str, Any], table: SuspectTable, source: str | Path | None, progress: Progress
) -> Pictures | None:
    """Pictures of the images as they are now; None where the run had labels alone, or the data is gone."""
    from labelscrub import curation, data
    from labelscrub.data.pictures import Pictures

    provenance = stored["provenance"]
    if "labels" in provenance:
        return None
    settings = Settings.of(stored["settings"]).source
    try:
        manifest = data.read_source(Path(source or provenance["source"]), settings, progress)
    except LabelscrubError as error:
        if source is not None:
            raise
        hint = f"{error.cause}: large pictures are not shown; --source says where the data is now"
        progress(Event("scan", message=hint))
        return None
    if changed := curation.changed_rows(manifest, table, None):
        hint = f"rows that are not as the run saw them: {len(changed):,} (first: {changed[0][1]}); a picture"
        progress(Event("scan", message=f"{hint} is shown only where its image is the same"))
    return Pictures(manifest, settings, _digest_of(table))


def _digest_of(table: SuspectTable) -> Callable[[int], bytes | None]:
    """Row -> digest of the image that the run saw there; None for a row that it did not use."""
    rows = table.row[table.used]  # (U,) ascending

    def digest(row: int) -> bytes | None:
        at = int(rows.searchsorted(row))
        return table.sha256[at].tobytes() if at < len(rows) and rows[at] == row else None

    return digest


def _no_picture(row: int) -> None:
    return None
