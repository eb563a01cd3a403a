"""Addresses of clusters: what cannot be one is refused before Ray is imported."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.pools import address
from orchestrator.problems import RunFileError

AUTH = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "RAY_ADDRESS")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    for name in AUTH:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))


@pytest.fixture
def listening():
    """HOST:PORT of a socket on the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def refusal(text):
    with pytest.raises(RunFileError) as caught:
        address.check(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("atuo", "auto"),
        ("AUTO", "auto"),
        ("6379", "127.0.0.1:6379"),
        ("head", "head:6379"),
        ("head:port", "head:6379"),
        ("head:0", "head:6379"),
        ("head:65536", "head:6379"),
        ("head 6380", "head:6380"),
        ("head;6380", "head:6380"),
        ("head:6380/", "head:6380"),
        ("http://head:8265", "head:6379"),
        ("ray:/head:10001", "ray://head:10001"),
        ("RAY://head:10001", "ray://head:10001"),
        ("ray://head", "ray://head:10001"),
        ("::1:6379", "[::1]:6379"),
        ("", None),
        ("local", None),
        (":", None),
        ("a" * 300 + ":1", None),
    ],
)
def test_malformed(wrong, near):
    told = refusal(wrong)
    assert f"--address = {wrong[:40]!r}"[:40] in told and "allowed: auto, HOST:PORT, ray://HOST:PORT" in told
    assert told.endswith(f"did you mean {near}?") if near else "did you mean" not in told


def test_nobody_listens(listening):
    address.check(listening)
    address.check(f"ray://{listening}")
    address.check(f"localhost:{listening.split(':')[1]}")
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    told = refusal(f"127.0.0.1:{free}")
    assert "has nobody who listens" in told and "ray start --head" in told and "token" not in told


def test_an_answer_is_not_waited_for(monkeypatch):
    waited = []

    def silent(place, seconds):
        waited.append(seconds)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", silent)
    assert "no answer within 3 s" in refusal("10.0.0.1:6379") and waited == [3.0]


@pytest.mark.parametrize(
    "given", [{"RAY_AUTH_TOKEN": "abc"}, {"RAY_AUTH_TOKEN_PATH": "/a/file"}, {"RAY_AUTH_MODE": "disabled"}]
)
def test_another_machine_needs_a_token(given, monkeypatch, listening):
    connect = socket.create_connection

    def far(place, seconds):
        connection = connect(("127.0.0.1", int(listening.split(":")[1])), seconds)
        monkeypatch.setattr(type(connection), "getpeername", lambda self: ("10.0.0.1", 6379), raising=False)
        return connection

    monkeypatch.setattr(socket, "create_connection", far)
    told = refusal("10.0.0.1:6379")
    assert "no token is given" in told and "RAY_AUTH_TOKEN=" in told and "RAY_AUTH_MODE=disabled" in told
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    address.check("10.0.0.1:6379")


def test_auto_is_what_ray_would_take(tmp_path, monkeypatch, listening):
    assert "finds no Ray cluster on this machine" in refusal("auto")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(f"{listening}\n")
    address.check("auto")
    monkeypatch.setenv("RAY_ADDRESS", "head")
    assert "'auto' stands for 'head', which is no address" in refusal("auto")
    monkeypatch.setenv("RAY_ADDRESS", listening)
    (tmp_path / "ray" / "ray_current_cluster").unlink()
    address.check("auto")


def test_ray_is_not_imported():
    code = "import sys; from orchestrator.pools import address; print('ray' in sys.modules, 'jax' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.split() == ["False", "False"]
