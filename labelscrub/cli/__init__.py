"""The command line, the only place for typer and rich: a command parses, calls one function, renders."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["run"]


def run(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `labelscrub`: runs a command and exits with its code.

    At once, without Python's clearing up: with torch loaded that takes seconds, also after a Ctrl-C.
    """
    hopeless = sys.flags.ignore_environment or os.environ.get("PYTHONUTF8") == "1"
    if sys.getfilesystemencoding() != "utf-8" and not hopeless:
        os.environ["PYTHONUTF8"] = "1"  # else file names, and so the results, would depend on the locale
        os.execv(sys.executable, sys.orig_argv)
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115  (stays open)
        else:
            stream.reconfigure(errors="backslashreplace")  # names that the terminal's encoding doesn't have
    try:
        from labelscrub.cli.app import main

        code = main(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:  # before main has its own handlers
        code = 130
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # full, or nobody reads
            stream.flush()
    os._exit(code)
