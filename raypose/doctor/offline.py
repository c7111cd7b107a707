"""Refuses connections of this process to other machines, and remembers who was asked for.

Python tells an audit hook of every connection that goes through its own sockets; those of native
code (Ray's gRPC, which talks to this machine) it does not see. `connect` on a datagram socket
sends nothing: Ray finds this machine's own address with it.
"""

from __future__ import annotations

import errno
import socket
import sys
from typing import Any

_EVENTS = ("socket.connect", "socket.sendto", "socket.getaddrinfo")


def refuse_connections() -> list[str]:
    """From here on; returns a list that grows with the names and addresses that are refused."""
    refused: list[str] = []
    own = {"localhost", socket.gethostname(), "", "0.0.0.0", "::"}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _EVENTS:
            return
        host = _host(event, arguments)
        if host is None or host in own:
            return
        if _is_own(host):
            own.add(host)
            return
        if host not in refused:
            refused.append(host)
        raise OSError(errno.ENETUNREACH, "raypose doctor allows no connection to other machines")

    sys.addaudithook(hook)
    return refused


def _host(event: str, arguments: tuple[Any, ...]) -> str | None:
    """The name or address that is asked for; None where nothing leaves this machine."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
        return host.decode(errors="replace") if isinstance(host, bytes) else host
    connection, address = arguments[0], arguments[-1]
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    if event == "socket.connect" and connection.type == socket.SOCK_DGRAM:
        return None
    return str(address[0])


def _is_own(host: str) -> bool:
    """Whether this is an address of this machine; names of others are not looked up."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.bind((host, 0))
            return True
        except OSError:
            continue
    return False
