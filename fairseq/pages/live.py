"""Serve a page that follows what it shows: `fairseq-report RUN_DIR --serve`.

    with PageServer(lambda: run_page(read_runs(), live=True), "127.0.0.1", 8000) as server:
        print(server.url)
        server.serve_forever()

The page asks for `/version` every two seconds, and takes a new page from `/` when that has changed. There is nothing
else to ask for: no file is served, and nothing can be changed. A request under another host's name is refused, so that
a page from elsewhere cannot read this one through a name that leads to this machine.
"""

import hashlib
import re
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fairseq.errors import ConfigError, FairseqError, reason

LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")
FRESH = 1.0  # seconds for which a page is not made again
_MADE = re.compile(r"<time>[^<]*</time>")


class PageServer(ThreadingHTTPServer):
    """Serves what `make` returns.

    Args:
        port: 0 takes a free one.

    Raises:
        ConfigError: the address cannot be had.
    """

    daemon_threads = True

    def __init__(self, make: Callable[[], str], host: str = "127.0.0.1", port: int = 0):
        self._make, self._lock, self._host = make, threading.Lock(), host
        self._page, self._made_at = "", float("-inf")
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"cannot serve on {host}:{port}: {reason(error)}; choose another --port or --host"
            ) from None

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.server_address[1]}/"

    def page(self) -> str:
        """The page, made anew if it is older than `FRESH`."""
        with self._lock:
            if time.monotonic() - self._made_at > FRESH:
                self._page = self._make()
                self._made_at = time.monotonic()
            return self._page

    def version(self) -> str:
        """What changes with the page, but not with the time at which it was made."""
        return hashlib.sha256(_MADE.sub("", self.page()).encode()).hexdigest()[:16]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def is_known(self, host: str) -> bool:
        """Whether a request's Host header names this server."""
        name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
        return name in (*LOOPBACK, self._host) or self._host in ("0.0.0.0", "::")


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "fairseq-report", ""

    def do_GET(self) -> None:
        if not self.server.is_known(self.headers.get("Host", "")):
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", "another host's name")
            return
        make = {"/": self.server.page, "/version": self.server.version}.get(self.path)
        if make is None:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "nothing is here")
            return
        try:
            self._answer(HTTPStatus.OK, "text/html" if self.path == "/" else "text/plain", make())
        except FairseqError as error:  # such as a folder that is gone; it may come back
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", str(error))

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: there is one every two seconds."""
