"""Whether an address can be that of a Ray cluster, asked before Ray is imported: it would try for a long time."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import sys
import tempfile
from pathlib import Path

from orchestrator.problems import Problem, RunFileError
from orchestrator.spelling import nearest

ALLOWED = ["auto", "HOST:PORT", "ray://HOST:PORT"]
PORTS = {"": 6379, "ray://": 10001}  # of `ray start --head`, and of its server for clients
ANSWER_S = 3.0
FORM = re.compile(r"(?P<scheme>ray://)?(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")
START = "what `ray start --head` printed; without --address a cluster is started here"


def check(address: str) -> None:
    """Raises `RunFileError` if it is malformed, if nothing listens there, or if it is far away and has no token."""
    value = address
    if address == "auto":
        address = _current()
    match = FORM.fullmatch(address)
    port = int(match["port"]) if match else 0
    if match is None or not 1 <= port <= 65535:
        near = _nearest(address) if value == address else None
        wrong = "is no address" if value == address else f"stands for {address!r}, which is no address"
        raise _refusal([Problem(("--address",), value, f"{wrong} of a Ray cluster", allowed=ALLOWED, near=near)])
    host = match["host"].strip("[]")
    found = []
    try:
        with socket.create_connection((host, port), ANSWER_S) as connection:
            near_by = _loopback(connection.getpeername()[0])
    except (OSError, UnicodeError) as error:  # a name may also be too long to be asked for
        near_by = host == "localhost" or _loopback(host)
        why = f"no answer within {ANSWER_S:g} s" if isinstance(error, TimeoutError) else error
        found.append(Problem(("--address",), value, f"has nobody who listens ({host}, port {port}: {why})", START))
    given = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)
    if not (near_by or given or os.environ.get("RAY_AUTH_MODE") == "disabled"):
        wrong = "is on another machine, and no token is given"
        allowed = "RAY_AUTH_TOKEN=... or RAY_AUTH_TOKEN_PATH=FILE with the token of the cluster in the environment"
        allowed += " (`ray get-auth-token` on its head prints it), or RAY_AUTH_MODE=disabled if it has none"
        found.append(Problem(("--address",), value, wrong, allowed))
    if found:
        raise _refusal(found)


def _refusal(problems: list[Problem]) -> RunFileError:
    return RunFileError(problems, "command line", "")


def _current() -> str:
    """The cluster that Ray means by `auto`: that of RAY_ADDRESS, or the last one that was started on this machine."""
    named = os.environ.get("RAY_ADDRESS", "")
    if named not in ("", "auto"):
        return named
    default = os.environ.get("TMPDIR") if sys.platform == "linux" else None
    folder = os.environ.get("RAY_TMPDIR") or default or ("/tmp" if os.name == "posix" else tempfile.gettempdir())
    try:
        return (Path(folder) / "ray" / "ray_current_cluster").read_text().strip()
    except OSError:
        wrong = "finds no Ray cluster on this machine, and RAY_ADDRESS is not set"
        raise _refusal([Problem(("--address",), "auto", wrong, allowed=f"HOST:PORT: {START}")]) from None


def _nearest(address: str) -> str | None:
    """The same in a form that is allowed, as far as it can be guessed."""
    if nearest(address, ["auto"]):
        return "auto"
    if address == "local":  # Ray's word for a cluster of one's own
        return None
    text = re.sub(r"[\s;,:]*[\s;,][\s;,:]*", ":", address.strip())
    scheme = "ray://" if re.match(r"ray:?/", text, re.IGNORECASE) else ""
    host, _, port = re.sub(r"^[A-Za-z]*:?/+", "", text).strip("/").rpartition(":")
    if not host:
        host, port = ("127.0.0.1", port) if port.isdigit() else (port, "")
    host = f"[{host.strip('[]')}]" if ":" in host else host
    good = port.isdigit() and 1 <= int(port) <= 65535 and not (port == "8265" and "http" in text)  # of the dashboard
    guess = f"{scheme}{host}:{port if good else PORTS[scheme]}"
    return guess if FORM.fullmatch(guess) else None


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
