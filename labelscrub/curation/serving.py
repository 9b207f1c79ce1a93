"""The review's server on 127.0.0.1: a socket, and uvicorn until somebody ends it."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from labelscrub.errors import EnvironmentProblem

HOST = "127.0.0.1"  # never another: the review has no other protection from a network
PORTS = (20_000, 32_768)  # below those that systems give to outgoing connections
GRACE = 3  # seconds for answers under way, which take milliseconds


def listen_for(run: Path) -> socket.socket:
    """A socket on a free port: where it is free the same one each time for a run.

    So a tab that outlived its server finds the next one, with the decisions it could not send.
    """
    low, high = PORTS
    try:
        return listen(low + zlib.crc32(os.fsencode(run.resolve())) % (high - low))
    except EnvironmentProblem:
        return listen(0)


def listen(port: int) -> socket.socket:
    """A socket that takes connections from this machine alone."""
    # With the protocol said, asyncio sets TCP_NODELAY; without, each picture would wait 40 ms for Nagle
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
        cause = f"cannot serve on port {port} of {HOST}: {reason}"
        raise EnvironmentProblem(cause, "without --port a free one is taken") from error
    return listener


def serve(app: ASGIApp, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Answer until a stop signal comes, and finish what is under way; `ready` is called once that may be."""
    server = _Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,  # it would show the token
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE,
        )
    )
    with listener, _ended_by_signals(server):
        ready()
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to us: uvicorn would raise them once more when it has ended."""
        yield


@contextlib.contextmanager
def _ended_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """A stop signal ends the server in order, a second Ctrl-C at once; only the main thread hears any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stops = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    wanted = [signum for signum in stops if signal.getsignal(signum) is not signal.SIG_IGN]  # nohup's wish
    before = {signum: signal.signal(signum, server.handle_exit) for signum in wanted}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
