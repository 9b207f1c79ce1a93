"""The review's application, by the attacks it must withstand. Requests go to it without a network."""

from __future__ import annotations

import asyncio
import errno
import json
import os

import httpx
import pytest
from test_curation_listed import suspect

from labelscrub.curation.decisions import read_decisions
from labelscrub.curation.journal import Journal
from labelscrub.curation.listed import Listed
from labelscrub.curation.server import MAX_BODY, Review, review_app

PORT = 8765
HOST = f"127.0.0.1:{PORT}"
ORIGIN = f"http://{HOST}"
TOKEN = "the-token"
COOKIE = f"labelscrub-{PORT}={TOKEN}"
POLICY = "default-src &#39;none&#39;; script-src &#39;sha256-x&#39;"
PAGE = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><h1>suspects</h1>'.encode()
HOSTILE = (  # as a report has them: no lone surrogates
    "</script><img src=x onerror=alert(1)>",
    "=cmd|' /C calc'!A0",
    '\tnew\r\nline, "quoted"',
    "caf\\xe9",
    "\u202egnp.exe",
    "line\u2028sep",
    "[/red]{{$x}}",
    "nul\x00 esc\x1b[31m",
    "../../etc/passwd",
    "long" * 100,
)
LABELS = ("cat", "dog", *HOSTILE)


class Site:
    """The application and what it answers; a browser that has come in, unless a request says otherwise."""

    def __init__(self, folder):
        self.path = folder / "decisions.jsonl"
        self.asked = []
        review = Review(
            page=PAGE,
            journal=Journal.open(self.path),
            listed=Listed([suspect(2), suspect(5)]),
            classes=LABELS,
            thumbnail=lambda row: self.picture("thumbnail", row),
            image=lambda row: self.picture("image", row),
            report="of-today",
        )
        self.app = review_app(review, TOKEN, PORT, once="once-only")

    def picture(self, kind, row):
        self.asked.append((kind, row))
        return f"{kind} {row}".encode() if row in (2, 5) else None

    def ask(self, method, path, *, headers=None, **more):
        """A header of None is left out."""
        sent = {"host": HOST, "cookie": COOKIE, **(headers or {})}

        async def request():
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
                present = {name: value for name, value in sent.items() if value is not None}
                made = client.build_request(method, path, headers=present, **more)
                for name in sent.keys() - present.keys():
                    made.headers.pop(name, None)
                return await client.send(made)

        return asyncio.run(request())

    def get(self, path, **headers):
        return self.ask("GET", path, headers=headers)

    def decide(self, said, headers=None):
        content = said if isinstance(said, bytes) else json.dumps(said).encode()
        sent = {"origin": ORIGIN, "content-type": "application/json", **(headers or {})}
        return self.ask("POST", "/decisions", headers=sent, content=content)

    def written(self):
        return read_decisions(self.path) if self.path.exists() else []


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


KEEP = {"row": 2, "choice": "keep"}


# ---- what it is for


def test_the_page_and_its_pictures(site):
    page = site.get("/")
    assert (page.status_code, page.content) == (200, PAGE)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert site.get("/thumbnail/2.webp").content == b"thumbnail 2"
    picture = site.get("/image/5.webp")
    assert (picture.content, picture.headers["content-type"]) == (b"image 5", "image/webp")


def test_decisions_are_written_and_told(site):
    assert site.get("/decisions?since=0").json() == {"count": 0, "decisions": []}
    assert site.decide(KEEP).json() == {"count": 1}
    assert site.decide({"row": 5, "choice": "relabel", "label": "cat"}).json() == {"count": 2}
    assert site.decide({"row": 2, "choice": "unreviewed", "label": ""}).json() == {"count": 3}
    assert site.get("/decisions?since=1").json() == {
        "count": 3,
        "decisions": [
            {"row": 5, "choice": "relabel", "label": "cat"},
            {"row": 2, "choice": "unreviewed", "label": ""},
        ],
    }
    written = site.written()[1]
    assert (written.row, written.path, written.given_label) == (5, "5.png", "dog")
    assert written.sha256 == suspect(5).sha256


def test_a_decision_of_another_run_is_counted_and_shown_where_it_belongs(site):
    entry = {"choice": "keep", "given_label": "dog", "path": "elsewhere.png"}
    known = {"row": 77, "sha256": suspect(5).sha256, **entry}
    unknown = {"row": 2, "sha256": "ee" * 32, **entry}
    site.path.write_text("".join(json.dumps(line) + "\n" for line in (known, unknown)))
    assert site.get("/decisions?since=0").json() == {
        "count": 2,
        "decisions": [{"row": 5, "choice": "keep", "label": ""}],
    }


def test_a_page_of_another_report_neither_decides_nor_is_told(site):
    """A tab that outlived its run: its rows may be other images here."""
    assert site.decide({**KEEP, "report": "of-today"}).json() == {"count": 1}
    assert site.get("/decisions?since=0&report=of-today").json()["count"] == 1
    for other in ("of-yesterday", "", None, 1):
        assert site.decide({**KEEP, "choice": "remove", "report": other}).status_code == 409
    answer = site.get("/decisions?since=0&report=of-yesterday")
    assert answer.status_code == 409 and "another report" in answer.text
    assert [decision.choice for decision in site.written()] == ["keep"]


def test_half_a_surrogate_pair_in_an_old_journal_is_no_crash(site):
    entry = {"row": 2, "choice": "relabel", "label": "\ud800", "given_label": "cat"}
    site.path.write_text(json.dumps(entry) + "\n")
    assert site.get("/decisions?since=0").json()["decisions"][0]["label"] == "\ud800"


@pytest.mark.parametrize("label", HOSTILE)
def test_a_hostile_label_of_the_data_set_is_a_label(site, label):
    """It is written as ASCII on one line, and told as it was."""
    assert site.decide({"row": 2, "choice": "relabel", "label": label}).status_code == 200
    line = site.path.read_bytes()
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert site.written()[0].label == label
    assert site.get("/decisions").json()["decisions"][0]["label"] == label


# ---- coming in


def test_the_token_sets_a_cookie_and_is_gone_from_the_address(site):
    answer = site.get(f"/?token={TOKEN}", cookie=None)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert name == COOKIE
    assert {a.lower() for a in attributes} == {"httponly", "samesite=strict", "path=/"}


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1], "%00", "\udce9", "é"])
def test_a_wrong_token_does_not_open(site, token):
    query = str(httpx.QueryParams({"token": token.encode(errors="replace").decode()}))
    for cookie in (None, COOKIE):
        answer = site.get(f"/?{query}", cookie=cookie)
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        assert "labelscrub review printed" in answer.text


def test_the_browsers_own_address_opens_once(site):
    assert site.get("/?token=once-only", cookie=None).status_code == 303
    assert site.get("/?token=once-only", cookie=None).status_code == 401
    assert site.get(f"/?token={TOKEN}", cookie=None).status_code == 303
    assert site.get(f"/?token={TOKEN}", cookie=None).status_code == 303


PATHS = ["/", "/decisions", "/decisions?since=0", "/thumbnail/2.webp", "/image/2.webp", "/nothing", "/docs"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "cookie",
    [None, "", "labelscrub-8765=", "labelscrub-8765=wrong", f"labelscrub-1={TOKEN}", "labelscrub-8765=\xe9"],
)
def test_without_the_cookie_nothing_is_answered(site, path, cookie):
    cookie = cookie if cookie is None else cookie.encode("latin-1")
    answer = site.get(path, cookie=cookie)
    assert answer.status_code == 401
    assert "labelscrub review printed" in answer.text
    assert PAGE not in answer.content
    assert not site.asked


def test_the_token_opens_only_the_door(site):
    """In the address of anything else it is no key: addresses end up in histories."""
    assert site.get(f"/decisions?token={TOKEN}", cookie=None).status_code == 401
    assert site.ask("POST", f"/?token={TOKEN}", headers={"cookie": None}).status_code == 401


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        f"evil.example:{PORT}",
        "127.0.0.1",
        "127.0.0.1:80",
        f"127.0.0.1.evil.example:{PORT}",
        f"{HOST}.evil.example",
        f"user@{HOST}",
        f"[::1]:{PORT}",
        f"0.0.0.0:{PORT}",
        f"LOCALHOST:{PORT} ",
        None,
    ],
)
@pytest.mark.parametrize("path", ["/", f"/?token={TOKEN}", "/decisions", "/image/2.webp"])
def test_another_host_name_is_refused(site, host, path):
    """DNS rebinding: a stranger's page under a name that leads to 127.0.0.1."""
    answer = site.get(path, host=host)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert not site.asked


def test_localhost_is_a_name_of_ours(site):
    assert site.get("/", host=f"localhost:{PORT}").status_code == 200
    sent = {"host": f"localhost:{PORT}", "origin": f"http://localhost:{PORT}"}
    assert site.decide(KEEP, sent).status_code == 200


@pytest.mark.parametrize("where", ["cross-site", "same-site", "anything"])
@pytest.mark.parametrize("path", ["/", f"/?token={TOKEN}", "/decisions?since=0", "/thumbnail/2.webp"])
def test_another_sites_page_gets_nothing(site, where, path):
    """Also one of another port of this machine, which is the same site to a browser, cookies and all."""
    answer = site.get(path, **{"sec-fetch-site": where})
    assert answer.status_code == 403
    assert not site.asked
    assert site.decide(KEEP, {"sec-fetch-site": where}).status_code == 403
    assert not site.path.exists()


@pytest.mark.parametrize("where", ["same-origin", "none"])
def test_our_own_page_and_the_address_bar_are_answered(site, where):
    assert site.get("/", **{"sec-fetch-site": where}).status_code == 200


FOREIGN = [
    "http://evil.example",
    "null",
    f"https://{HOST}",
    f"http://localhost:{PORT}",
    "http://127.0.0.1:1",
    f"{ORIGIN}.evil.example",
    f"{ORIGIN}/",
]


@pytest.mark.parametrize("origin", [None, *FOREIGN])
def test_a_decision_of_another_origin_is_refused(site, origin):
    assert site.decide(KEEP, {"origin": origin}).status_code == 403
    assert not site.path.exists()


@pytest.mark.parametrize("origin", FOREIGN)
def test_another_origin_reads_nothing(site, origin):
    answer = site.get("/decisions", origin=origin)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


# ---- decisions


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None, "text/json"]
)
def test_only_json_is_a_decision(site, kind):
    """What a form of another page can send without asking first."""
    assert site.decide(KEEP, {"content-type": kind}).status_code == 415
    assert not site.path.exists()


def test_json_may_say_its_encoding(site):
    assert site.decide(KEEP, {"content-type": "Application/JSON; charset=utf-8"}).status_code == 200


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{",
        b"[" * 60_000,
        b"\xff\xfe",
        b'{"row": 1' + b"0" * 5000 + b', "choice": "keep"}',
        b'{"row": NaN, "choice": "keep"}',
        [],
        "keep",
        None,
        {},
        {"row": 2},
        {"choice": "keep"},
        {"row": 3, "choice": "keep"},
        {"row": -1, "choice": "keep"},
        {"row": 10**30, "choice": "keep"},
        {"row": "2", "choice": "keep"},
        {"row": 2.0, "choice": "keep"},
        {"row": True, "choice": "keep"},
        {"row": None, "choice": "keep"},
        {"row": [2], "choice": "keep"},
        {"row": "../../etc/passwd", "choice": "keep"},
        {"row": 2, "choice": "delete"},
        {"row": 2, "choice": ""},
        {"row": 2, "choice": None},
        {"row": 2, "choice": ["keep"]},
        {"row": 2, "choice": {}},
        {"row": 2, "choice": "relabel"},
        {"row": 2, "choice": "relabel", "label": ""},
        {"row": 2, "choice": "relabel", "label": None},
        {"row": 2, "choice": "relabel", "label": 0},
        {"row": 2, "choice": "relabel", "label": ["cat"]},
        {"row": 2, "choice": "relabel", "label": "Cat"},
        {"row": 2, "choice": "relabel", "label": "bird"},
        {"row": 2, "choice": "relabel", "label": "../../etc"},
        {"row": 2, "choice": "relabel", "label": 'cat"}\n{"row": 5, "choice": "remove"}\n'},
        {"row": 2, "choice": "relabel", "label": "\udfff"},
    ],
    ids=lambda said: str(said)[:40],
)
def test_what_is_no_decision_of_this_run_is_refused(site, said):
    answer = site.decide(said)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.endswith(".")
    assert not site.path.exists()


def test_nobody_adds_keys_or_writes_paths(site):
    """What the file says of an image comes from the run, not from who decides."""
    assert site.decide({**KEEP, "path": "/etc/passwd", "sha256": "00", "time": "never"}).status_code == 200
    entry = json.loads(site.path.read_bytes())
    assert entry["path"] == "2.png"
    assert entry["sha256"] == suspect(2).sha256
    assert entry["time"] != "never"


def test_a_large_body_is_refused_unread(site):
    assert site.decide(b" " * (MAX_BODY - 40) + json.dumps(KEEP).encode()).status_code == 200
    assert site.decide(b" " * MAX_BODY + json.dumps(KEEP).encode()).status_code == 413
    assert len(site.written()) == 1


@pytest.mark.parametrize("length", [str(MAX_BODY + 1), "9" * 30, "-1", "many", "1e9"])
def test_a_body_that_says_it_is_large_is_refused(site, length):
    assert site.decide(KEEP, {"content-length": length}).status_code == 413
    assert not site.path.exists()


def test_a_body_that_does_not_say_how_large_it_is(site):
    """In chunks, without a Content-Length."""

    async def endless():
        while True:
            yield b" " * 10_000

    headers = {"origin": ORIGIN, "content-type": "application/json"}
    assert site.ask("POST", "/decisions", headers=headers, content=endless()).status_code == 413


@pytest.mark.parametrize("since", ["-1", "1.5", "x", "", "0x1", "\u0661", "9" * 40, "../../etc/passwd"])
def test_since_is_a_number(site, since):
    query = httpx.QueryParams({"since": since})
    answer = site.get(f"/decisions?{query}")
    assert answer.status_code == 400
    assert "number" in answer.text


def test_since_beyond_the_end_tells_all(site):
    """The journal was moved away: the page has seen more than there is."""
    site.decide(KEEP)
    assert site.get("/decisions?since=99").json() == {
        "count": 1,
        "decisions": [{"row": 2, "choice": "keep", "label": ""}],
    }


def test_a_full_disk_is_said(site, monkeypatch):
    def full(descriptor, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        answer = site.decide(KEEP)
    assert answer.status_code == 507
    assert "No space left" in answer.text
    assert site.written() == []
    assert site.decide(KEEP).json() == {"count": 1}


def test_a_damaged_journal_is_said(site):
    site.path.write_text("junk\n")
    for answer in (site.decide(KEEP), site.get("/decisions")):
        assert answer.status_code == 500
        assert "line 1" in answer.text
    assert site.path.read_text() == "junk\n"


# ---- pictures


@pytest.mark.parametrize("kind", ["thumbnail", "image"])
@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "2.webp%00.png",
        "2%00.webp",
        "2",
        "2.png",
        "2.webp/",
        "2.webp/x",
        ".webp",
        "-1.webp",
        "+2.webp",
        "%202.webp",
        "2.0.webp",
        "2e0.webp",
        "0x2.webp",
        "\u0662.webp",
        f"{10**30}.webp",
        f"{'9' * 5000}.webp",
        "two.webp",
        "2.webp%0a",
        "",
    ],
)
def test_a_picture_is_asked_for_by_row_alone(site, kind, name):
    answer = site.ask("GET", f"/{kind}/{name}")
    assert answer.status_code == 404
    assert not site.asked


@pytest.mark.parametrize("row", [0, 3, 999999999999999])
def test_a_row_without_a_picture(site, row):
    answer = site.get(f"/image/{row}.webp")
    assert answer.status_code == 404
    assert "set-cookie" not in answer.headers


# ---- every answer


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", {}),
        ("HEAD", "/", {}),
        ("GET", f"/?token={TOKEN}", {}),
        ("GET", "/?token=x", {}),
        ("GET", "/", {"cookie": None}),
        ("GET", "/", {"host": "evil.example"}),
        ("GET", "/decisions", {}),
        ("GET", "/decisions?since=x", {}),
        ("GET", "/image/2.webp", {}),
        ("GET", "/image/3.webp", {}),
        ("GET", "/nothing", {}),
        ("POST", "/decisions", {}),
        ("POST", "/", {"origin": ORIGIN, "content-type": "application/json"}),
        ("PUT", "/decisions", {}),
        ("DELETE", "/decisions", {}),
        ("OPTIONS", "/decisions", {}),
        ("TRACE", "/", {}),
    ],
)
def test_each_answer_has_the_headers(site, method, path, headers):
    answer = site.ask(method, path, headers=headers)
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert len(answer.headers.get_list("content-security-policy")) == 1
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "server" not in answer.headers
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_the_pages_policy_is_its_own_and_no_frame(site):
    policy = site.get("/").headers["content-security-policy"]
    assert policy == "default-src 'none'; script-src 'sha256-x'; frame-ancestors 'none'"


def test_a_page_without_a_policy_is_not_served(tmp_path):
    review = Review(b"<h1>", Journal.open(tmp_path / "d"), Listed([]), (), lambda row: None, lambda row: None)
    with pytest.raises(ValueError, match="Policy"):
        review_app(review, TOKEN, PORT, once="")


@pytest.mark.parametrize(
    "path", ["/docs", "/redoc", "/openapi.json", "/favicon.ico", "/decisions.jsonl", "/decisions/"]
)
def test_there_is_nothing_else(site, path):
    assert site.get(path).status_code == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_no_other_method_does_anything(site, method):
    assert site.ask(method, "/decisions", headers={"origin": ORIGIN}).status_code == 405


def test_a_name_in_a_refusal_is_text(site):
    answer = site.get("/?token=%3Cscript%3Ealert(1)%3C/script%3E", cookie=None)
    assert "<script" not in answer.text
