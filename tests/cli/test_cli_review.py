"""The real command, over a real socket: start, come in, decide, Ctrl-C, start again."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading
import webbrowser
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
from review_runs import finished_run, reviewing
from typer.testing import CliRunner

from labelscrub import pipeline
from labelscrub.cli import review as review_module
from labelscrub.cli.app import app
from labelscrub.curation.decisions import read_decisions


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("review")
    return folder, finished_run(folder)


@pytest.fixture
def run(data, tmp_path):
    """A copy of the run; its source is where it was."""
    shutil.copytree(data[0] / "run", tmp_path / "run")
    return tmp_path / "run", data[1]


@contextmanager
def browser(url):
    """Comes in as a browser does; what it keeps is a cookie."""
    here = url.partition("/?")[0]
    with httpx.Client(
        base_url=here, headers={"origin": here}, trust_env=False, follow_redirects=True
    ) as client:
        assert client.get(url).status_code == 200
        yield client


def test_a_session(run):
    folder, wrong = run
    keep = {"row": wrong[0], "choice": "keep"}
    with reviewing(folder) as (process, url):
        with browser(url) as tab, browser(url) as other:
            assert tab.get(f"/image/{wrong[0]}.webp").headers["content-type"] == "image/webp"
            assert tab.post("/decisions", json=keep).json() == {"count": 1}
            assert other.get("/decisions?since=0").json()["count"] == 1
            assert other.post("/decisions", json={"row": wrong[1], "choice": "remove"}).json() == {"count": 2}
            assert tab.get("/decisions?since=1").json()["decisions"] == [
                {"row": wrong[1], "choice": "remove", "label": ""}
            ]
            assert "server" not in tab.get("/").headers
        assert httpx.get(url.partition("?")[0], trust_env=False).status_code == 401
    assert process.returncode == 0
    assert f"Ctrl-C ends; decisions are in {folder / 'decisions.jsonl'}" in process.news
    assert "Traceback" not in process.news
    written = read_decisions(folder / "decisions.jsonl")
    assert [(d.row, d.choice) for d in written] == [(wrong[0], "keep"), (wrong[1], "remove")]
    with reviewing(folder, "-q", stop=signal.SIGTERM) as (process, again), browser(again) as tab:
        assert again != url
        assert tab.get("/decisions").json()["decisions"][0] == {**keep, "label": ""}
    assert (process.returncode, process.news) == (0, "")


def raw(port, request, *, breaks_off=False):
    """The answer to bytes that no well-behaved client sends."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        if breaks_off:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
    return answer


def test_bytes_of_attackers(run):
    """As they are on the wire, with the right cookie."""
    folder, wrong = run
    with reviewing(folder) as (process, url):
        parts = urlsplit(url)
        cookie = f"labelscrub-{parts.port}={parts.query.partition('=')[2]}".encode()
        ours = b"Host: %s\r\nCookie: %s\r\nConnection: close\r\n" % (parts.netloc.encode(), cookie)
        assert b" 200 OK" in raw(parts.port, b"GET /decisions HTTP/1.1\r\n%s\r\n" % ours)
        for path in (
            b"/image/../../etc/passwd",
            b"/image/..%2f..%2fetc%2fpasswd",
            b"//etc/passwd",
            b"/../run.json",
        ):
            assert raw(parts.port, b"GET %s HTTP/1.1\r\n%s\r\n" % (path, ours)).startswith(b"HTTP/1.1 404")
        for bad in (
            b"GET / HTTP/1.0\r\nCookie: %s\r\n\r\n" % cookie,  # no host
            b"GET / HTTP/1.1\r\nHost: evil.example\r\n%s\r\n" % ours,  # two hosts
            b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\nCookie: %s\r\n\r\n" % cookie,
            b"\x16\x03\x01 not HTTP at all\r\n\r\n",
        ):
            assert raw(parts.port, bad)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 403")
        large = b"POST /decisions HTTP/1.1\r\n%sOrigin: http://%s\r\nContent-Type: application/json\r\n"
        large %= (ours, parts.netloc.encode())
        assert raw(parts.port, large + b"Content-Length: 99999999\r\n\r\n").startswith(b"HTTP/1.1 413")
        cut = large + b'Content-Length: 60\r\n\r\n{"row": %d, "choice": "keep"}' % wrong[0]
        raw(parts.port, cut, breaks_off=True)  # the connection broke before the end: no decision
    assert process.returncode == 0
    assert "Traceback" not in process.news
    assert not (folder / "decisions.jsonl").exists()


def test_a_second_ctrl_c_is_no_crash(run):
    with reviewing(run[0]) as (process, _):
        process.send_signal(signal.SIGINT)
    assert process.returncode in (0, -signal.SIGINT)
    assert "Traceback" not in process.news


def test_a_port_can_be_chosen(run):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with reviewing(run[0], "--port", str(port)) as (_, url):
        assert urlsplit(url).port == port


def test_errors_have_a_sentence_and_a_code(tmp_path, run):
    for arguments, code in (([str(tmp_path / "none")], 2), ([str(run[0]), "--port", "70000"], 2)):
        command = [sys.executable, "-m", "labelscrub", "review", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code
        assert done.stderr.startswith("labelscrub: ")
        assert "Traceback" not in done.stderr


def test_the_help_has_an_example():
    shown = CliRunner().invoke(app, ["review", "--help"], env={"COLUMNS": "120", "NO_COLOR": "1"})
    assert "labelscrub review labelscrub-out" in shown.output
    assert "--no-open" in shown.output


@pytest.mark.parametrize(("options", "opened"), [(["--open"], ["once"]), (["--no-open"], []), ([], [])])
def test_the_browser_gets_an_address_that_works_once(monkeypatch, options, opened):
    """The one printed is for the person: a browser's arguments are seen by all users of the machine."""

    class Server:
        url, single_url, journal = "printed", "once", "run/decisions.jsonl"

        def serve(self, ready):
            ready()
            for thread in threading.enumerate():
                if thread.daemon and thread.name == "browser":
                    thread.join()

    seen = []
    monkeypatch.setattr(webbrowser, "open", seen.append)
    monkeypatch.setattr(pipeline, "review", lambda run, **options: Server())
    shown = CliRunner().invoke(app, ["review", *options])
    assert shown.stdout == "printed\n"
    assert "decisions are in run/decisions.jsonl" in shown.stderr
    assert seen == opened


@pytest.mark.parametrize(
    ("environment", "terminal", "opens"),
    [
        ({"DISPLAY": ":0"}, True, True),
        ({"WAYLAND_DISPLAY": "w"}, True, True),
        ({}, True, False),
        ({"DISPLAY": ":0"}, False, False),
    ],
)
def test_a_browser_opens_only_where_somebody_sees_it(monkeypatch, environment, terminal, opens):
    monkeypatch.setattr(review_module.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    assert review_module._has_display() is opens
