"""The command line, the only place for typer and rich: a command parses, calls one function, renders."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["run"]


def run(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `labelscrub`: runs a command and exits with its code."""
    from labelscrub.cli.app import main

    sys.exit(main(sys.argv[1:] if arguments is None else list(arguments)))
