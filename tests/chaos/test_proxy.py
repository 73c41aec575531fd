"""The proxy that stands for a bad network does what it says, or the faults would be none."""

import socket
import threading
from collections.abc import Iterator

import pytest
from chaos.proxy import Proxy


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy before a server that repeats what it hears."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_echo, args=(server,), daemon=True).start()
        own = Proxy(server.getsockname()[1])
        own.start()
        yield own
        own.close()


def _echo(server: socket.socket) -> None:
    while True:
        try:
            peer, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_repeat, args=(peer,), daemon=True).start()


def _repeat(peer: socket.socket) -> None:
    with peer:
        try:
            while chunk := peer.recv(100):
                peer.sendall(chunk)
        except OSError:
            """Reset: as meant."""


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    """A client of the proxy, through which one word has come back."""
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as own:
        own.sendall(b"heron")
        assert own.recv(100) == b"heron"
        own.settimeout(0.5)
        yield own


@pytest.mark.parametrize("directions", [("up", "down"), ("up",), ("down",)])
def test_what_is_held_comes_later(proxy: Proxy, client: socket.socket, directions: tuple[str, ...]) -> None:
    proxy.hold(*directions)
    client.sendall(b"egret")
    with pytest.raises(TimeoutError):
        client.recv(100)
    proxy.flow()
    client.settimeout(5)
    assert client.recv(100) == b"egret"


@pytest.mark.parametrize("direction", ["up", "down"])
def test_what_is_swallowed_never_comes(proxy: Proxy, client: socket.socket, direction: str) -> None:
    proxy.swallow(direction)
    client.sendall(b"egret")
    with pytest.raises(TimeoutError):
        client.recv(100)
    proxy.reset()
    proxy.flow()
    client.settimeout(5)
    with pytest.raises(ConnectionResetError):
        client.recv(100)


def test_after_a_reset_a_new_connection_works(proxy: Proxy, client: socket.socket) -> None:
    proxy.reset()
    client.settimeout(5)
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as another:
        another.sendall(b"bittern")
        assert another.recv(100) == b"bittern"
