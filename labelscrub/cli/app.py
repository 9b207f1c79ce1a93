"""The Typer app and the one error boundary: every way to end maps to a sentence and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Annotated

import typer

from labelscrub import __version__
from labelscrub.cli import (
    bench,
    check,
    config,
    corrupt,
    demo,
    detect,
    doctor,
    export,
    lint,
    prune,
    review,
    score,
    tune,
    undo,
)
from labelscrub.cli.console import printable
from labelscrub.errors import EXIT_ENVIRONMENT, LabelscrubError

_FOLDS_KEPT = "finished folds are kept: the same command goes on where this one stopped"
_KEPT = {
    "detect": _FOLDS_KEPT,
    "check": _FOLDS_KEPT,
    "demo": _FOLDS_KEPT,
    "prune": "files that were being moved: `labelscrub undo` puts them back, `prune --finish` goes on",
    "undo": "the same command goes on where this one stopped",
    "bench": "finished trials and folds are kept: the same command goes on where this one stopped",
}
"""Command -> what is left of it when it is stopped; nothing of the others."""
EXIT_INTERNAL = 70  # sysexits' EX_SOFTWARE: a bug of ours, told apart from the gate's 1

app = typer.Typer(
    name="labelscrub",
    help="Find the wrong labels in an image data set.",
    epilog="Start with: labelscrub demo",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.command("detect")(detect.detect)
app.command("lint")(lint.lint)
app.command("tune")(tune.tune)
app.command("review")(review.review)
app.command("prune")(prune.prune)
app.command("undo")(undo.undo)
app.command("export")(export.export)
app.command("check")(check.check)
app.command("corrupt")(corrupt.corrupt)
app.command("score")(score.score)
app.command("bench")(bench.bench)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.add_typer(config.app, name="config")


class Interrupted(BaseException):
    """A signal that asks us to stop; BaseException, so that no `except Exception` swallows it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code, which `--debug` does not change: it adds the traceback."""
    debug = "--debug" in arguments
    # torch's threads wait for each other busily by default: beside any other program that halves their speed.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    handled = _stop_on_signals()
    try:
        code = app(args=list(arguments), prog_name="labelscrub", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except LabelscrubError as error:
        _trace(debug)
        _complain(error.cause, error.fix)
        return error.exit_code
    except Interrupted as stop:
        command = next((word for word in arguments if not word.startswith("-")), "")
        _complain(f"stopped by {signal.Signals(stop.signum).name}", _KEPT.get(command, ""))
        return 128 + stop.signum
    except BrokenPipeError:
        # Whoever read our output has left (`| head`); Python would complain once more while closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # rich has met it, and would make it a 1
            return 128 + signal.SIGPIPE
        raise
    except MemoryError:
        _trace(debug)
        _complain("out of memory", "a smaller --image-size or --batch-size, or fewer --workers, needs less")
        return EXIT_ENVIRONMENT
    except typer.Abort:
        _complain("cancelled")
        return 128 + signal.SIGINT
    except Exception as error:
        _trace(debug)
        if hasattr(error, "format_message"):  # click's own usage errors, whichever click typer carries
            _complain(
                " ".join(error.format_message().split()) or "no command given",
                "labelscrub COMMAND --help lists the options",
            )
            return int(getattr(error, "exit_code", 2))
        if isinstance(error, OSError):
            _complain(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))
            return EXIT_ENVIRONMENT
        _complain(
            f"internal error: {type(error).__name__}: {error}",
            "this is a bug of labelscrub; the same command with --debug shows where",
        )
        return EXIT_INTERNAL
    finally:
        for signum, handler in handled.items():
            signal.signal(signum, handler)


def _stop_on_signals() -> dict[signal.Signals, signal.Handlers]:
    """Turn the first stop signal into Interrupted; a second one ends the process at once."""

    def stop(signum: int, frame: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_DFL)
        interrupt(signum, frame)

    def interrupt(signum: int, frame: FrameType | None) -> None:
        if not _is_importing(frame):
            raise Interrupted(signum)
        # torch's C++ imports Python modules, and aborts where an exception comes out of one: a little later
        signal.signal(signal.SIGALRM, lambda _, later: interrupt(signum, later))
        signal.setitimer(signal.ITIMER_REAL, 0.05)

    stops = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    wanted = [signum for signum in stops if signal.getsignal(signum) is not signal.SIG_IGN]  # nohup's wish
    return {signum: signal.signal(signum, stop) for signum in wanted}  # type: ignore[misc]  # None: C code's


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _trace(debug: bool) -> None:
    if debug:
        traceback.print_exc()


def _complain(cause: str, fix: str = "") -> None:
    lines = [f"labelscrub: {printable(cause)}"] + ([f"  {printable(fix)}"] if fix else [])
    typer.echo("\n".join(lines), err=True)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"labelscrub {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Find the wrong labels in an image data set."""
