"""The report page in a real browser: Debian's chromium, one for the module, a fresh profile for each test."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "reporting"))
from reports import make_report

from labelscrub.records import Details, Report
from labelscrub.reporting.html import report_html
from labelscrub.reporting.html_data import picture_rows
from labelscrub.store_pictures import write_pictures

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
WATCH = """
window.violations = [];
const told = (event) => violations.push(`${event.violatedDirective} ${event.blockedURI}`);
document.addEventListener("securitypolicyviolation", told);
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no chromium here")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


class Tab:
    """A page under watch: what it asked for, and all that a page must not do."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.requests: list[str] = []
        self.wrong: list[str] = []
        page.set_default_timeout(5000)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", self._asked)
        page.on("pageerror", lambda error: self.wrong.append(f"error {error}"))
        page.on("console", lambda message: message.type == "error" and self.wrong.append(message.text))

    def _asked(self, dialog: Any) -> None:
        if dialog.type == "beforeunload":
            dialog.accept()
        else:
            self.wrong.append(f"dialog {dialog.message}")
            dialog.dismiss()

    def wait(self, condition: Callable[[], object]) -> None:
        """Until it holds. (Playwright's wait_for_function needs an eval, which the page's policy forbids.)"""
        for _ in range(250):
            if condition():
                return
            self.page.wait_for_timeout(20)
        pytest.fail("it never came")

    def until(self, start: str) -> None:
        """Wait for the counter to begin so."""
        self.wait(lambda: self.progress.startswith(start))

    def check(self) -> None:
        assert self.wrong == []
        assert self.page.evaluate("violations") == []

    def press(self, keys: str) -> None:
        for key in keys.split():
            self.page.keyboard.press(key)

    @property
    def progress(self) -> str:
        return self.page.locator("#progress").inner_text().strip()

    @property
    def ranks(self) -> list[str]:
        return self.page.locator(".card .rank").all_inner_texts()

    @property
    def current(self) -> str:
        return self.page.locator(".card.current .rank").inner_text()


@pytest.fixture
def open_tab(browser: Any) -> Iterator[Callable[..., Tab]]:
    """Open an address; each test's tabs share a profile unless they ask for one of their own."""
    contexts: list[Any] = []

    def open_(address: str, *, fresh: bool = False, init: str = "", **options: Any) -> Tab:
        if fresh or options or not contexts:
            contexts.append(browser.new_context(**{"viewport": {"width": 1300, "height": 900}, **options}))
        page = contexts[-1].new_page()
        page.add_init_script(WATCH + init)
        tab = Tab(page)
        page.goto(address)
        page.evaluate("document.querySelector('#suspects')?.scrollIntoView()")
        return tab

    yield open_
    for context in contexts:
        context.close()


def with_details(report: Report) -> Report:
    """The suggestion first among the most probable classes; the last two images are the examples."""
    f, n = report.findings, len(report.findings)
    index = np.flatnonzero(f.is_suspect | (f.conflict > 0))
    k = len(report.manifest.classes)
    top = (f.suggested[index, None] + np.arange(min(5, k))) % k
    return replace(
        report,
        details=Details(
            index=index,
            top=top.astype(np.int32),
            top_probs=np.tile(np.float32([0.7, 0.2, 0.05, 0.03, 0.02])[: top.shape[1]], (len(index), 1)),
            suggested_prob=np.full(len(index), 0.7, np.float32),
            example_given=np.full(len(index), n - 1),
            example_suggested=np.full(len(index), n - 2),
        ),
    )


def webp(row: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (24, 16), (row * 37 % 256, row * 91 % 256, row * 53 % 256)).save(buffer, "WEBP")
    return buffer.getvalue()


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., tuple[str, Report]]:
    """Write report.html as a run does, with `embedded` pictures in it and more beside it.

    Returns its address and the report.
    """

    def store(embedded: int = 2000, beside: int = 0, **options: Any) -> tuple[str, Report]:
        report = with_details(make_report(**options))
        rows = picture_rows(report)
        further = rows[embedded : embedded + beside]
        write_pictures(tmp_path, ((row, webp(row)) for row in further))
        page = report_html(report, {row: webp(row) for row in rows[:embedded]}, further)
        (tmp_path / "report.html").write_bytes(page)
        return (tmp_path / "report.html").as_uri(), report

    return store
