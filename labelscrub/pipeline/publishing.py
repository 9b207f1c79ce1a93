"""A verdict in the forms that people and CI servers ask for: on stdout, into files, into a step's summary."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelscrub.config import nearest
from labelscrub.errors import UsageError
from labelscrub.records import Event, Progress, silent

if TYPE_CHECKING:
    from labelscrub.reporting.verdict import Verdict

# How each form begins: only a file that begins so, or is empty, is replaced.
_BEGINS = {
    "text": rb"labelscrub check (passed|FAILED): ",
    "json": rb'\{\s*"tool": "labelscrub check"',
    "markdown": rb"## labelscrub check (passed|failed)\n",
    "junit": rb'<testsuites name="labelscrub"',
    "sarif": rb'\{[^{}\[\]]*"version": "2\.1\.0",\s*"runs": \[\s*\{\s*"tool": \{\s*"driver": '
    rb'\{\s*"name": "labelscrub"',
    "github": rb"::(error|warning|notice) title=labelscrub",
}
FORMS = tuple(_BEGINS)
SUMMARY, SUMMARY_LIMIT = "GITHUB_STEP_SUMMARY", 1 << 20  # bytes; GitHub drops a step's summary beyond that
_POINTS = {"sarif", "github"}  # forms that need the suspects themselves


@dataclass(frozen=True)
class Form:
    """One form of the verdict, and where it goes."""

    name: str
    file: Path | None
    """None is stdout."""


def parse_forms(texts: Iterable[str], environ: Mapping[str, str]) -> tuple[Form, ...]:
    """`--format` as given, each NAME or NAME=FILE, checked before anything runs.

    Raises:
        UsageError: an unknown name, two for stdout, a file named twice, or one that holds something else.
    """
    forms = []
    for text in texts:
        name, equals, file = text.partition("=")
        if name not in FORMS:
            raise UsageError(f"--format '{text}': there is no format '{name}'", nearest(name, FORMS))
        if equals and not file:
            raise UsageError(f"--format '{text}' names no file", "is the variable set that it comes from?")
        forms.append(Form(name, Path(file) if equals else None))
    printed = [form.name for form in forms if form.file is None]
    if len(printed) > 1:
        raise UsageError(
            f"only one format can go to stdout, not {' and '.join(printed)}",
            f"write the other into a file: --format {printed[1]}=FILE",
        )
    files = [os.path.realpath(form.file) for form in forms if form.file is not None]
    if len(set(files)) < len(files):
        raise UsageError("two formats have the same file", "give each a file of its own")
    for form in forms:
        if form.file is not None and not _is_summary(form, environ):
            _require_ours(form.name, form.file)
    return tuple(forms)


def need_listing(forms: Iterable[Form]) -> bool:
    """Whether any of them points at the suspects themselves."""
    return any(form.name in _POINTS for form in forms)


def publish(
    verdict: Verdict,
    forms: tuple[Form, ...],
    *,
    folder: Path,
    environ: Mapping[str, str],
    progress: Progress = silent,
) -> str:
    """Write the forms that go into files; the one for stdout, text if there is none.

    folder: the working directory; places are relative to the repository that it is in, if any.
    """
    from labelscrub.reporting.places import root_of
    from labelscrub.store import write_atomic

    folder = root_of(folder)
    printed = "text"
    summary = any(form.name == "github" for form in forms) and bool(environ.get(SUMMARY))
    for form in forms:
        if form.file is None:
            printed = form.name
        elif _is_summary(form, environ):
            summary = True
        else:
            _require_ours(form.name, form.file)
            data = _render(verdict, form.name, folder).encode("utf-8", "replace")
            write_atomic(form.file.resolve(), data)  # a link stays one
    if summary:
        _append(Path(environ[SUMMARY]), _render(verdict, "markdown", folder), progress)
    return _render(verdict, printed, folder)


def _render(verdict: Verdict, name: str, folder: Path) -> str:
    from labelscrub.reporting import verdict_forms

    if name == "json":
        return verdict_forms.verdict_json(verdict)
    if name == "markdown":
        return verdict_forms.verdict_markdown(verdict)
    if name == "junit":
        from labelscrub.reporting.junit import verdict_junit

        return verdict_junit(verdict)
    if name == "sarif":
        from labelscrub.reporting.sarif import verdict_sarif

        return verdict_sarif(verdict, folder)
    if name == "github":
        from labelscrub.reporting.github import verdict_commands

        return verdict_commands(verdict, folder)
    return verdict_forms.verdict_text(verdict)


def _is_summary(form: Form, environ: Mapping[str, str]) -> bool:
    return form.name == "markdown" and form.file is not None and str(form.file) == environ.get(SUMMARY)


def _require_ours(name: str, file: Path) -> None:
    """UsageError where replacing `file` would cost anything but an earlier verdict of the same form."""
    from labelscrub.store import require_folder

    require_folder(file)
    if not os.path.lexists(file):
        return
    if not file.is_file():
        raise UsageError(f"{file} is not a regular file", f"choose another name for --format {name}=FILE")
    with file.open("rb") as opened:
        head = opened.read(512)
    if head and not re.match(_BEGINS[name], head):
        raise UsageError(
            f"{file} exists and is not a {name} verdict of labelscrub: it is not overwritten",
            f"choose another name for --format {name}=FILE, or move it away",
        )


def _append(file: Path, text: str, progress: Progress) -> None:
    """Put text at the end of a step's summary, unless that would make GitHub drop all of it."""
    from labelscrub.store import cannot_write

    data = text.encode("utf-8", "replace")
    try:
        with file.open("ab") as opened:
            size = opened.tell()
            if size + len(data) + 1 > SUMMARY_LIMIT:
                progress(
                    Event("report", message=f"the step summary {file} is full: the verdict is not in it")
                )
                return
            opened.write((b"\n" if size else b"") + data)
    except OSError as error:
        raise cannot_write(file, error) from error
