"""The page as `labelscrub review` serves it, against a small server that keeps to the contract."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from conftest import webp

from labelscrub.reporting.html import served_page


class Review(ThreadingHTTPServer):
    """A journal in memory; `status` other than 200 is the answer to every decision."""

    daemon_threads = True

    def __init__(self, page: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.page, self.status = page, 200
        self.journal: list[dict[str, object]] = []
        self.asked: list[str] = []
        self.answering = threading.Event()
        self.answering.set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Answer(BaseHTTPRequestHandler):
    server: Review

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        self.server.asked.append(path)
        if path == "/":
            self._send(self.server.page, "text/html; charset=utf-8")
        elif path == "/decisions":
            asked = parse_qs(query)
            assert asked["report"] == ["today"]
            entries = self.server.journal[int(asked["since"][0]) :]
            self._json({"count": len(self.server.journal), "decisions": entries})
        else:
            self._send(webp(int(path.split("/")[2].removesuffix(".webp"))), "image/webp")

    def do_POST(self) -> None:
        entry = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status != 200:
            self._send(b"the disk is full", "text/plain", self.server.status)
        else:
            assert entry.pop("report") == "today"
            assert set(entry) == {"row", "choice", "label"} and self.headers["Origin"]
            self.server.journal.append(entry)
            count = len(self.server.journal)
            self.server.answering.wait(5)
            self._json({"count": count})

    def _json(self, value: object) -> None:
        self._send(json.dumps(value).encode(), "application/json")

    def _send(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def review(stored, tmp_path) -> Iterator[Review]:
    stored(used=30, suspects=10, conflicts=0, embedded=3)
    server = Review(served_page((Path(tmp_path) / "report.html").read_bytes(), run="a run", report="today"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def look(tab):
    tab.page.evaluate("dispatchEvent(new Event('focus'))")


def test_decisions_are_sent_one_by_one_and_reach_other_tabs(open_tab, review):
    review.journal.append({"row": 5, "choice": "remove", "label": ""})
    tab, other = open_tab(review.address), open_tab(review.address, fresh=True)
    tab.until("1 of 10 decided: 0 keep, 0 relabel, 1 remove")
    tab.press("k r")
    tab.wait(lambda: len(review.journal) == 3)  # what is taken back before it is sent is not sent
    tab.press("u")
    tab.wait(lambda: len(review.journal) == 4)
    assert [(e["row"], e["choice"]) for e in review.journal[1:]] == [
        (3, "keep"),
        (4, "relabel"),
        (4, "unreviewed"),
    ]
    assert review.journal[2]["label"] == "ship"
    look(other)
    other.until("2 of 10 decided: 1 keep, 0 relabel, 1 remove")
    other.press("p x")  # of the image that the first tab kept
    look(tab)
    tab.until("2 of 10 decided: 0 keep, 0 relabel, 2 remove")
    tab.press("u")  # what was decided anew elsewhere is not taken back
    assert tab.progress == "2 of 10 decided: 0 keep, 0 relabel, 2 remove"
    command = "labelscrub prune 'a run' --decisions 'a run/decisions.jsonl' --action manifest"
    assert tab.page.inner_text("#next code") == command
    tab.check()
    other.check()


def test_pictures_come_from_the_server(open_tab, review):
    tab = open_tab(review.address)
    tab.page.locator(".picture").nth(5).click()
    tab.page.wait_for_selector("#view .large img[src='/image/8.webp']")
    assert "/thumbnail/8.webp" in review.asked
    assert all(url.startswith((review.address, "data:")) for url in tab.requests)
    tab.check()


def test_a_server_that_is_gone_costs_no_decision(open_tab, review):
    tab = open_tab(review.address)
    tab.page.wait_for_load_state("networkidle")
    tab.page.route("**/decisions*", lambda route: route.abort())
    tab.press("k x")
    tab.page.wait_for_selector(".banner")
    assert "does not answer" in tab.page.inner_text(".banner")
    assert "2 decisions not yet on disk" in tab.page.inner_text(".banner")
    assert tab.page.evaluate("!dispatchEvent(new Event('beforeunload', { cancelable: true }))")
    assert review.journal == []
    tab.page.unroute("**/decisions*")
    tab.page.reload()  # kept also then
    tab.until("2 of 10")
    tab.wait(lambda: len(review.journal) == 2)
    assert [e["choice"] for e in review.journal] == ["keep", "remove"]
    tab.page.wait_for_timeout(100)
    assert tab.page.locator(".banner").count() == 0
    assert tab.page.evaluate("dispatchEvent(new Event('beforeunload', { cancelable: true }))")


def test_of_two_tabs_decisions_about_one_image_the_last_one_holds_in_both(open_tab, review):
    """The other one is seen while the answer to one's own is still on its way."""
    tab = open_tab(review.address)
    tab.page.wait_for_load_state("networkidle")
    review.answering.clear()
    tab.press("k")
    tab.wait(lambda: len(review.journal) == 1)
    review.journal.append({"row": 3, "choice": "remove", "label": ""})
    with tab.page.expect_response("**/decisions?*"):
        look(tab)
    tab.page.wait_for_timeout(50)
    review.answering.set()
    tab.until("1 of 10 decided: 0 keep, 0 relabel, 1 remove")
    tab.check()


def test_what_waits_in_two_tabs_is_kept_for_the_next_one(open_tab, review):
    """Both are closed while the server is gone."""
    tab, other = open_tab(review.address), open_tab(review.address)
    for one, keys in ((tab, "k x"), (other, "j j r")):
        one.page.wait_for_load_state("networkidle")
        one.page.route("**/decisions*", lambda route: route.abort())
        one.press(keys)
        one.page.wait_for_selector(".banner")
    for one in (tab, other):
        one.page.close()
    assert review.journal == []
    last = open_tab(review.address)
    last.until("3 of 10 decided: 1 keep, 1 relabel, 1 remove")
    last.wait(lambda: len(review.journal) == 3)
    assert sorted(entry["row"] for entry in review.journal) == [3, 4, 5]


TIMERS = """
const [set, clear] = [setTimeout, clearTimeout];
window.timers = new Set();
window.setTimeout = (act, ms) => {
  const id = set(() => { timers.delete(id); act(); }, ms);
  if (ms >= 1000) timers.add(id);
  return id;
};
window.clearTimeout = (id) => { timers.delete(id); clear(id); };
"""


def test_many_decisions_that_wait_are_tried_again_together(open_tab, review):
    tab = open_tab(review.address, init=TIMERS)
    tab.page.wait_for_load_state("networkidle")
    refused = []
    tab.page.on("requestfailed", lambda request: refused.append(request.method))
    tab.page.route("**/decisions*", lambda route: route.abort())
    for number, key in enumerate("kxrk", 1):
        tab.press(key)
        tab.wait(lambda number=number: refused.count("POST") >= number)
    tab.page.wait_for_timeout(50)
    assert tab.page.evaluate("timers.size") == 1


def test_who_walks_on_does_not_wait_for_large_pictures(open_tab, review):
    """Six under way would hold up decisions: a browser asks no more of one server at once."""
    tab = open_tab(review.address)
    tab.page.wait_for_load_state("networkidle")
    given_up = []
    tab.page.on("requestfailed", lambda request: given_up.append(request.url))
    tab.page.route("**/image/*", lambda route: None)
    tab.page.locator(".picture").first.click()
    tab.press("j j")
    tab.wait(lambda: len(given_up) == 2)
    assert [url.rpartition("/")[2] for url in given_up] == ["3.webp", "4.webp"]


@pytest.mark.parametrize(
    ("status", "said"), [(500, "the disk is full"), (403, "not signed in"), (409, "another report")]
)
def test_a_server_in_trouble_is_tried_again(open_tab, review, status, said):
    review.status = status
    tab = open_tab(review.address)
    tab.press("k")
    tab.page.wait_for_selector(".banner")
    assert said in tab.page.inner_text(".banner")
    review.status = 200
    look(tab)
    tab.wait(lambda: len(review.journal) == 1)
    tab.page.wait_for_selector(".banner", state="detached")
    assert tab.progress.startswith("1 of 10")


def test_a_refused_decision_is_told_and_taken_back(open_tab, review):
    review.journal.append({"row": 3, "choice": "keep", "label": ""})
    tab = open_tab(review.address)
    tab.until("1 of 10")
    review.status = 400
    tab.page.locator(".card").first.focus()
    tab.press("x")
    tab.page.wait_for_selector(".banner")
    assert 'refused "remove" for rank 1' in tab.page.inner_text(".banner")
    look(tab)
    tab.until("1 of 10 decided: 1 keep")


def test_another_journal_takes_the_place_of_the_first(open_tab, review):
    review.journal += [{"row": row, "choice": "keep", "label": ""} for row in (3, 4, 5)]
    tab = open_tab(review.address)
    tab.until("3 of 10")
    review.journal[:] = [{"row": 6, "choice": "remove", "label": ""}]
    look(tab)
    tab.until("1 of 10 decided: 0 keep, 0 relabel, 1 remove")
    tab.check()
