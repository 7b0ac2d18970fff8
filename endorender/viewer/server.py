"""The server behind the page: this machine only, this page only, nothing from the network.

viser serves its own client from one file and everything else through a websocket. What is added here: requests whose
Host is another name are refused (DNS rebinding), websockets of other pages are refused (Origin), a content security
policy keeps the page from loading anything from elsewhere, and viser's public tunnel is taken out.
"""

from __future__ import annotations

import contextlib
import errno
import http
import importlib.util
import io
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from endorender.errors import UserError
from endorender.viewer.client import hashes

if TYPE_CHECKING:
    import viser

HERE = "127.0.0.1"
NAMES = (HERE, "localhost")
TITLE = b"<title>Viser</title>", b"<title>endorender</title>"  # what the browser's tab says
# The client is one page with everything in it, unpacked by a script; its decoders are WebAssembly in workers. React and
# three.js set styles of single elements.
POLICY = (
    "default-src 'none'; script-src {scripts} 'wasm-unsafe-eval'; style-src 'unsafe-inline' blob: data:; "
    "img-src 'self' blob: data:; font-src data: blob:; worker-src blob: data:; "
    "connect-src 'self' {sockets} blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@contextlib.contextmanager
def serving(port: int, title: str) -> Iterator[viser.ViserServer]:
    """A viser server on 127.0.0.1 for as long as the block runs. port: 0 for any free one. title: on the panel.

    Raises UserError MISSING_EXTRA, or PORT where the port cannot be had.
    """
    refuse_missing()
    import viser

    class Private(viser.ViserServer):
        """Without the tunnel to a public address that any client of viser may ask for."""

        def request_share_url(self, verbose: bool = True) -> None:
            return None

    refuse_taken(port)
    with _guarded() as guarded, _silent():
        server = Private(HERE, port, label=title, verbose=False)
    try:
        if not guarded:
            raise RuntimeError("this viser does not serve through websockets.asyncio: its requests go unchecked")
        if port and server.get_port() != port:  # viser takes the next one where another program was faster
            raise UserError(f"port {port} was taken at this moment: choose another --port", "PORT")
        server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False)
        yield server
    finally:
        with _silent():
            server.stop()


def refuse_missing() -> None:
    """Raise UserError MISSING_EXTRA without viser."""
    if importlib.util.find_spec("viser") is None:
        raise UserError("looking needs the extra: pip install 'endorender[view]'", "MISSING_EXTRA")


def refuse_taken(port: int) -> None:
    """Raise UserError PORT where the port cannot be listened on; viser would quietly take another one."""
    if not 0 <= port <= 65535:
        raise UserError(f"a port is a number from 0 to 65535, got {port}", "PORT")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HERE, port))
        except OSError as error:
            reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise UserError(f"port {port} {reason}: choose another with --port, 0 for any free one", "PORT") from None


def refusal(headers: Any, port: int) -> str | None:
    """Why a request is not answered; None if it is. headers: as websockets gives them.

    A page from elsewhere can reach this machine under a name of its own that resolves to 127.0.0.1; browsers tell its
    name as Host. A websocket is open to every page; browsers tell the page as Origin. Programs may tell what they
    like, but what they could gain they can read from disk.
    """
    hosts = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == 80 else set())
    given = [value.lower() for value in headers.get_all("Host")]
    if len(given) != 1 or given[0] not in hosts:
        return "this page answers to 127.0.0.1 and localhost only"
    origins = headers.get_all("Origin")
    wanted = 1 if headers.get_all("Upgrade") else len(origins)
    if len(origins) != wanted or not set(origins) <= {f"http://{host}" for host in hosts}:
        return "this page talks to itself only"
    return None


@contextlib.contextmanager
def _guarded() -> Iterator[list[int]]:
    """While a viser server starts in this block, its websockets server gets our check; gives a list of those that did.

    viser 1.1 has no hook for requests; it looks `serve` up in its module and hands it a `process_request`.
    """
    from websockets.asyncio import server as home

    original, done = home.serve, []

    def serve(handler: Any, host: str, port: int, *, process_request: Callable[..., Any], **rest: Any) -> Any:
        done.append(port)
        return original(handler, host, port, process_request=_checked(process_request), **rest)

    home.serve = serve  # type: ignore[assignment, misc]
    try:
        yield done
    finally:
        home.serve = original  # type: ignore[misc]


def _checked(answer: Callable[..., Any]) -> Callable[..., Any]:
    """viser's answer to a request, after our check and with our headers."""

    def process_request(connection: Any, request: Any) -> Any:
        port = connection.local_address[1]
        if reason := refusal(request.headers, port):
            return connection.respond(http.HTTPStatus.FORBIDDEN, f"refused: {reason}\n")
        with contextlib.suppress(KeyError):
            del request.headers["Accept-Encoding"]  # so that the page comes as it is
        response = answer(connection, request)
        if response is not None and TITLE[0] in response.body:
            response.body = response.body.replace(*TITLE)
            del response.headers["Content-Length"]
            response.headers["Content-Length"] = str(len(response.body))
        if response is not None:
            sockets = " ".join(f"ws://{name}:{port}" for name in NAMES)
            own = hashes(response.body)
            scripts = " ".join(own) if own else "'unsafe-inline'"  # a client that is packed otherwise
            response.headers["Content-Security-Policy"] = POLICY.format(sockets=sockets, scripts=scripts)
            response.headers["Referrer-Policy"] = "no-referrer"
            response.headers["X-Content-Type-Options"] = "nosniff"
            response.headers["Cache-Control"] = "no-store"
        return response

    return process_request


def _silent() -> contextlib.AbstractContextManager[Any]:
    """viser prints where it listens and when it stops; the command line says it in its own words."""
    return contextlib.redirect_stdout(io.StringIO())
