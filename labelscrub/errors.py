"""What can go wrong, and the exit code each kind gets. One base, caught once, at the command line's edge."""

from __future__ import annotations

EXIT_OK = 0
EXIT_GATE_FAILED = 1
EXIT_USAGE = 2
EXIT_DATA = 3
EXIT_ENVIRONMENT = 4
EXIT_MODEL = 5


class LabelscrubError(Exception):
    """An error a user can act on: `cause` says what is wrong and where, `fix` what to do about it."""

    exit_code = EXIT_USAGE

    def __init__(self, cause: str, fix: str = "") -> None:
        super().__init__(f"{cause}\n{fix}" if fix else cause)
        self.cause = cause
        self.fix = fix


class UsageError(LabelscrubError):
    """Options or settings that make no sense, or that contradict an earlier run (exit code 2)."""


class DataError(LabelscrubError):
    """The user's images, manifest or labels can't be worked with (exit code 3)."""

    exit_code = EXIT_DATA


class EnvironmentProblem(LabelscrubError):  # noqa: N818  (builtins already have an EnvironmentError)
    """Disk, permission, lock, memory or device (exit code 4)."""

    exit_code = EXIT_ENVIRONMENT


class ModelError(LabelscrubError):
    """The model's predictions can't be trusted, so neither could a verdict built on them (exit code 5)."""

    exit_code = EXIT_MODEL
