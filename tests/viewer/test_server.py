"""The page answers this machine and itself, and hands out nothing but viser's client."""

import contextlib
import http.client
import re
import socket

import pytest

from endorender.errors import UserError

viser = pytest.importorskip("viser", reason="needs the extra: pip install 'endorender[view]'")
from websockets.exceptions import InvalidHandshake  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

from endorender.viewer.server import refuse_taken, serving  # noqa: E402


@pytest.fixture(scope="module")
def port():
    with serving(0, "test") as server:
        yield server.get_port()


def get(port, path="/", **headers):
    """Status, headers and body of a GET whose headers are exactly these (Host_ twice for a second one)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    with contextlib.closing(connection):
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.rstrip("_"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read()


def greeted(port, origin, **rest):
    """Whether a websocket handshake of a page from this origin is taken."""
    try:
        with connect(
            f"ws://127.0.0.1:{port}",
            origin=origin,
            subprotocols=[f"viser-v{viser.__version__}"],
            open_timeout=120,
            **rest,
        ):
            return True
    except InvalidHandshake:
        return False


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_own_names_are_answered_with_a_page_that_may_load_nothing_from_elsewhere(port, name):
    status, headers, body = get(port, Host=f"{name}:{port}")
    assert status == 200
    assert body.lstrip().startswith(b"<!doctype html>")
    assert b"<title>endorender</title>" in body
    assert int(headers["Content-Length"]) == len(body)
    assert get(port, **{"Host": f"{name}:{port}", "Accept-Encoding": "gzip"})[2] == body
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    scripts = policy["script-src"].split()
    assert scripts.pop() == "'wasm-unsafe-eval'"  # no script but these two, none in the page's markup
    assert len(scripts) == 2
    assert all(re.fullmatch("'sha256-[A-Za-z0-9+/]{43}='", word) for word in scripts)
    allowed = {word for words in policy.values() for word in words.split() if not word.startswith("'")}
    assert allowed == {"blob:", "data:", f"ws://127.0.0.1:{port}", f"ws://localhost:{port}"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:{port}"},
        {"Host": "127.0.0.1.evil.example:{port}"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Host": "127.0.0.1:{port}", "Host_": "evil.example"},
        {"Host": ""},
        {},
        {"Host": "127.0.0.1:{port}", "Origin": "http://evil.example"},
        {"Host": "localhost:{port}", "Origin": "null"},
    ],
)
def test_other_names_and_other_pages_are_refused(port, headers):
    status, _, body = get(port, **{k: v.format(port=port) for k, v in headers.items()})
    assert status == 403
    assert body.startswith(b"refused: ")


def test_websockets_of_other_pages_and_under_other_names_are_refused(port):
    assert greeted(port, f"http://127.0.0.1:{port}")
    assert greeted(port, f"http://localhost:{port}")
    for origin in ("http://evil.example", f"http://127.0.0.1:{port + 1}", f"https://127.0.0.1:{port}", "null", None):
        assert not greeted(port, origin), origin
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(
            b"GET / HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Origin: http://evil.example\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n"
        )
        assert raw.recv(64).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    "path",
    [
        "/dataset.json",
        "/../../../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/..%5c..%5c_viser.py",
        "//etc/passwd",
        "/etc/passwd",
        "/../__init__.py",
    ],
)
def test_nothing_but_the_client_is_served(port, path):
    assert get(port, path, Host=f"127.0.0.1:{port}")[0] == 404


def test_only_this_machine_is_listened_to(port):
    # All of 127.0.0.0/8 is this machine: what listens everywhere answers there too.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=120)


def test_a_port_in_use_is_said_and_not_replaced_by_another(port):
    with pytest.raises(UserError, match=f"port {port} is in use: choose another with --port"):
        refuse_taken(port)
    with pytest.raises(UserError, match="0 to 65535"), serving(70_000, "test"):
        pass


def test_a_server_whose_requests_cannot_be_checked_does_not_stay_up(monkeypatch):
    monkeypatch.setattr("endorender.viewer.server._guarded", lambda: contextlib.nullcontext([]))
    with pytest.raises(RuntimeError, match="unchecked"), serving(0, "test"):
        pass


def test_no_client_can_ask_for_a_public_address(monkeypatch):
    from viser import _viser

    monkeypatch.setattr(_viser, "ViserTunnel", lambda *args: pytest.fail("a tunnel was opened"))
    with serving(0, "test") as server:
        assert server.request_share_url() is None


def test_it_ends_and_frees_its_port():
    with serving(0, "test") as server:
        port = server.get_port()
    refuse_taken(port)
