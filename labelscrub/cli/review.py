"""`labelscrub review`: the report page, with decisions that stick."""

from __future__ import annotations

import os
import sys
import threading
from typing import Annotated

import typer

from labelscrub.cli.console import ProgressDisplay, printable
from labelscrub.cli.options import DEFAULT_OUT, Debug, MovedTo, Quiet, Run


def review(
    run: Run = DEFAULT_OUT,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of 127.0.0.1.", show_default="a free one")
    ] = 0,
    open_browser: Annotated[
        bool | None,
        typer.Option(
            "--open/--no-open",
            help="Open the page in the browser.",
            show_default="where there are a display and a terminal",
        ),
    ] = None,
    source: MovedTo = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Decide on the suspects in the browser: keep, relabel or remove, each kept on the disk as it is made.

    Serves RUN's report page to this machine alone until Ctrl-C, and appends to RUN/decisions.jsonl.

    For a run on another machine: --port 8765 there, and ssh -L 8765:127.0.0.1:8765 here.

    Example: labelscrub review labelscrub-out
    """
    from labelscrub import pipeline

    with ProgressDisplay(quiet=quiet) as progress:
        server = pipeline.review(run, port=port, source=source, progress=progress)

    def ready() -> None:
        typer.echo(server.url)
        if not quiet:
            typer.echo(printable(f"Ctrl-C ends; decisions are in {server.journal}"), err=True)
        if open_browser if open_browser is not None else _has_display():
            threading.Thread(target=_open, args=(server.single_url,), name="browser", daemon=True).start()

    server.serve(ready)


def _has_display() -> bool:
    shows = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(shows) and sys.stdout.isatty()


def _open(url: str) -> None:
    import webbrowser

    webbrowser.open(url)
