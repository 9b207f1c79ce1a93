"""The review page's web application: who may ask, what is answered, and nothing else.

The server listens on 127.0.0.1 alone, which every page that the browser shows, and everybody on this machine,
can reach as well. So a request must name our own host (DNS rebinding), carry the cookie that only the printed
address sets, and not come from another site's page; and pictures are asked for by row number, never by path.
"""

from __future__ import annotations

import hmac
import html
import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from labelscrub.curation.journal import Journal
from labelscrub.curation.listed import Listed
from labelscrub.errors import EnvironmentProblem, LabelscrubError
from labelscrub.review_records import CHOICES

MAX_BODY = 64 << 10  # bytes; a decision has some hundred
_ROW = re.compile(r"([0-9]{1,15})\.webp", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,15}", re.ASCII)
_META_CSP = re.compile(rb'http-equiv="Content-Security-Policy"\s+content="([^"]*)"')
_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_HEADERS = (
    (b"content-security-policy", _NOTHING.encode()),  # but of the page, which brings its own
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)
_COME_IN = "Open the address that labelscrub review printed: it has the token that lets this browser in."

Picture = Callable[[int], bytes | None]


@dataclass(frozen=True, eq=False)
class Review:
    """What is served."""

    page: bytes
    """HTML with its own Content-Security-Policy in a meta element."""
    journal: Journal
    listed: Listed
    classes: Collection[str]
    """Labels that an image may be given."""
    thumbnail: Picture
    """Row -> WebP bytes, or None where there is no picture; called by several threads."""
    image: Picture
    """The same, large."""
    report: str = ""
    """Names the report that the page shows."""


def review_app(review: Review, token: str, port: int, *, once: str) -> ASGIApp:
    """The application for a server on 127.0.0.1 at `port`; `token` opens it, and `once` a single time.

    The latter is for an address that others may come to see, such as in the arguments of a browser's process.
    """
    page_headers = {"Content-Security-Policy": _page_policy(review.page)}

    def page(request: Request) -> Response:
        return Response(review.page, media_type="text/html", headers=page_headers)

    def since(request: Request) -> Response:
        _require_same(request.query_params.get("report", review.report), review)
        asked = request.query_params.get("since", "0")
        if not _COUNT.fullmatch(asked):
            raise HTTPException(400, "since is a number of entries")
        count, entries = review.journal.since(int(asked))
        decisions = [
            {"row": row, "choice": entry.choice, "label": entry.label}
            for row, entry in review.listed.placed(entries)
        ]
        return _json({"count": count, "decisions": decisions})

    async def decide(request: Request) -> Response:
        row, choice, label = _decided(await _body(request), review)
        decision = review.listed.decision(row, choice, label)
        return _json({"count": await run_in_threadpool(review.journal.append, decision)})

    def thumbnail(request: Request) -> Response:
        return _picture(request, review.thumbnail)

    def image(request: Request) -> Response:
        return _picture(request, review.image)

    routes = [
        Route("/", page, methods=["GET"]),
        Route("/decisions", since, methods=["GET"]),
        Route("/decisions", decide, methods=["POST"]),
        Route("/thumbnail/{name}", thumbnail, methods=["GET"]),
        Route("/image/{name}", image, methods=["GET"]),
    ]
    handlers: dict[Any, Any] = {HTTPException: _refused, LabelscrubError: _failed}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return _guarded(app, token, port, {once})


def _guarded(app: ASGIApp, token: str, port: int, passes: set[str]) -> ASGIApp:
    """Nothing reaches `app` that has no right to, and nothing leaves without the headers."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message["headers"])
                names = {name.lower() for name, _ in own}
                message["headers"] = own + [header for header in _HEADERS if header[0] not in names]
            await send(message)

        try:
            answer: ASGIApp = _admitted(Request(scope), token, port, passes) or app
        except HTTPException as refusal:
            answer = _refused(Request(scope), refusal)
        await answer(scope, receive, send_with_headers)

    return guarded


def _admitted(request: Request, token: str, port: int, passes: set[str]) -> Response | None:
    """None for a request that may be answered, or the answer to one that comes in; else an HTTPException."""
    hosts = request.headers.getlist("host")
    if len(hosts) != 1 or hosts[0] not in (f"127.0.0.1:{port}", f"localhost:{port}"):
        raise HTTPException(403, "This host name is not the server's. " + _COME_IN)
    if any(origin != f"http://{hosts[0]}" for origin in request.headers.getlist("origin")):
        raise HTTPException(403, "Another site may not ask here.")
    # None: a program, or an old browser. A page of another local server is "same-site", and no better.
    if request.headers.get("sec-fetch-site") not in (None, "none", "same-origin"):
        raise HTTPException(403, f"A link of another site does not lead in. {_COME_IN} Type or paste it.")
    cookie = f"labelscrub-{port}"  # cookies know no ports: a second server must not overwrite the first one's
    if request.scope["path"] == "/" and "token" in request.query_params and request.method == "GET":
        given = request.query_params["token"]
        used = {single for single in passes if _equal(given, single)}
        passes -= used
        if not used and not _equal(given, token):
            raise HTTPException(401, "This token is not, or no longer, valid. " + _COME_IN)
        entrance = RedirectResponse("/", 303)
        entrance.set_cookie(cookie, token, path="/", httponly=True, samesite="strict")
        return entrance
    if not _equal(request.cookies.get(cookie, ""), token):
        raise HTTPException(401, _COME_IN)
    if request.method == "POST":
        if len(request.headers.getlist("origin")) != 1:
            raise HTTPException(403, "A decision must say which page it comes from (Origin).")
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind != "application/json":
            raise HTTPException(415, "A decision is application/json.")
    return None


def _equal(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), secret.encode())


async def _body(request: Request) -> bytes:
    """The request's body; one that is, or says it is, larger than any decision is not read."""
    too_large = HTTPException(413, "A decision is smaller than this.")
    declared = request.headers.get("content-length", "0")
    if not _COUNT.fullmatch(declared) or int(declared) > MAX_BODY:
        raise too_large
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY:
                raise too_large
    except ClientDisconnect:
        raise HTTPException(400, "The connection broke.") from None
    return body


def _decided(body: bytes, review: Review) -> tuple[int, Any, str]:
    """Row, choice and label of a decision that can be made in this run."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "This is not JSON.") from None
    if not isinstance(said, dict):
        raise HTTPException(400, 'A decision is {"row": 3, "choice": "keep"}.')
    _require_same(said.get("report", review.report), review)
    row, choice, label = said.get("row"), said.get("choice"), said.get("label")
    if type(row) is not int or row not in review.listed:
        raise HTTPException(400, "'row' is no listed image's.")
    if not isinstance(choice, str) or choice not in CHOICES:
        raise HTTPException(400, f"'choice' is not one of {', '.join(CHOICES)}.")
    if choice != "relabel":
        return row, choice, ""
    if not isinstance(label, str) or label not in review.classes:
        raise HTTPException(400, "'label' is none of the data set's classes.")
    return row, choice, label


def _require_same(report: Any, review: Review) -> None:
    """A tab may outlive its run: in another one its rows may be other images."""
    if report != review.report:
        raise HTTPException(409, "This page shows another report.")


def _picture(request: Request, picture: Picture) -> Response:
    name = _ROW.fullmatch(request.path_params["name"])
    data = picture(int(name[1])) if name else None
    if data is None:
        raise HTTPException(404, "There is no such picture.")
    return Response(data, media_type="image/webp")


def _page_policy(page: bytes) -> str:
    """The page's own policy, and that no other page may show it in a frame, which only a header can say."""
    found = _META_CSP.search(page)
    if found is None:
        raise ValueError("the page has no Content-Security-Policy")
    return f"{html.unescape(found[1].decode('ascii'))}; frame-ancestors 'none'"


def _json(answer: dict[str, Any]) -> Response:
    # ASCII: an old journal may hold half a surrogate pair, which is no UTF-8
    return Response(json.dumps(answer), media_type="application/json")


def _said(text: str, status: int) -> Response:
    """A sentence that the page's script shows; a name in it may be no UTF-8."""
    return Response(text.encode(errors="backslashreplace"), status, media_type="text/plain")


def _refused(request: Request, refusal: HTTPException) -> Response:
    """A sentence: as text to the page's script, else as a page."""
    path, status = request.scope["path"], refusal.status_code
    if path == "/decisions":
        return _said(refusal.detail, status)
    title = HTTPStatus(status).phrase
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>labelscrub: {title}</title>'
        f"<h1>{title}</h1><p>{html.escape(refusal.detail)}</p></html>"
    )
    return Response(text, status, media_type="text/html", headers=refusal.headers)


def _failed(request: Request, error: LabelscrubError) -> Response:
    """What a person can mend, such as a full disk: 507; a damaged journal: 500. The page shows the text."""
    status = 507 if isinstance(error, EnvironmentProblem) else 500
    return _said(f"{error.cause}; {error.fix}" if error.fix else error.cause, status)
