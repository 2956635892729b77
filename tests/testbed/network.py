"""Loopback addresses at which things go wrong: nobody there, no answer, a slow one, a bad one.

Everything listens on 127.0.0.1 and is gone at the end of its ``with`` block. None of
it imitates a provider: what a provider answers comes from the real server in ``llm``.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

HOST: Final = "127.0.0.1"
# Reserved by RFC 2606: no resolver ever finds it.
UNKNOWN_HOST: Final = "nobody.home.invalid"
UNKNOWN_URL: Final = f"http://{UNKNOWN_HOST}"
# Enough for every kernel: Linux takes one connection more than a backlog of 1 says, others up to half more.
_FILLERS: Final = 8


@dataclass(frozen=True)
class Request:
    """A request that a server of this module has received; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body's JSON value."""
        return json.loads(self.body)


@dataclass
class Server:
    """A small HTTP server: where it is, and what was asked of it so far."""

    url: str
    requests: list[Request] = field(default_factory=list)


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    """Give the URL of a port where every connection is refused."""
    # Bound and not listening: refused, and nobody else can be given the port meanwhile.
    with socket.socket() as reserved:
        reserved.bind((HOST, 0))
        yield _url(reserved)


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """Give the URL of a port that neither takes nor refuses a connection: connecting takes for ever."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((HOST, 0))
        listener.listen(1)
        for _ in range(_FILLERS):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield _url(listener)


@contextlib.contextmanager
def silence() -> Iterator[str]:
    """Give the URL of a port that takes connections and requests, and never answers."""
    with socket.create_server((HOST, 0), backlog=128) as listener:
        yield _url(listener)


@contextlib.contextmanager
def answering(
    status: int = 200,
    body: str | bytes | dict[str, Any] | list[Any] = b"",
    *,
    headers: Mapping[str, str] | None = None,
    routes: Mapping[str, tuple[int, str | bytes | dict[str, Any] | list[Any]]] | None = None,
) -> Iterator[Server]:
    """Give a server with one answer to everything.

    Parameters
    ----------
    status
        The HTTP status.
    body
        The body; a dict or list is sent as JSON.
    headers
        Further headers, such as ``{"Retry-After": "7"}``.
    routes
        Other answers for some paths: path without the query -> (status, body).
    """

    def answer(handler: _Handler) -> None:
        code, content = (routes or {}).get(handler.path.partition("?")[0], (status, body))
        data, kind = _encoded(content)
        handler.send_response(code)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(data)

    with _serving(answer) as server:
        yield server


@contextlib.contextmanager
def dripping(*, seconds_per_byte: float = 0.1, body: bytes = b"{}" + b" " * 1000) -> Iterator[Server]:
    """Give a server that answers 200 at once and then sends `body` one byte at a time.

    A limit on the time between two bytes never strikes here; only one on the whole does.
    """
    over = threading.Event()

    def drip(handler: _Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        for byte in body:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            if over.wait(seconds_per_byte):
                return

    with _serving(drip) as server:
        try:
            yield server
        finally:
            over.set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    answer: Callable[[_Handler], None]
    received: list[Request]

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.received.append(Request(self.command, self.path, headers, body))
        # Whoever asked may have gone away; that is what their limits are for.
        with contextlib.suppress(ConnectionError):
            type(self).answer(self)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the requests are kept instead."""


@contextlib.contextmanager
def _serving(answer: Callable[[_Handler], None]) -> Iterator[Server]:
    received: list[Request] = []
    handler = type("Handler", (_Handler,), {"answer": staticmethod(answer), "received": received})
    server = ThreadingHTTPServer((HOST, 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield Server(_url(server.socket), received)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _encoded(body: str | bytes | dict[str, Any] | list[Any]) -> tuple[bytes, str]:
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    if isinstance(body, str):
        return body.encode(), "text/html; charset=utf-8"
    return json.dumps(body).encode(), "application/json"


def _url(bound: socket.socket) -> str:
    return f"http://{HOST}:{bound.getsockname()[1]}"
