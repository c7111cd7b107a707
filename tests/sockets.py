"""Which sockets processes listen on, from /proc."""

from __future__ import annotations

import ipaddress
import os
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.nodes import command_line

_LISTENS = "0A"


@dataclass(frozen=True)
class Listening:
    """A TCP socket that a process listens on."""

    process: str  # its command line
    host: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int

    @property
    def is_loopback(self) -> bool:
        mapped = getattr(self.host, "ipv4_mapped", None)
        return (mapped or self.host).is_loopback


def listening(pids: Iterable[int]) -> list[Listening]:
    """All TCP sockets that any of these processes listens on."""
    sockets = _listening_sockets()
    found = {}
    for pid in pids:
        try:
            links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue  # it has ended
        for link in links:
            inode = re.fullmatch(r"socket:\[(\d+)\]", link)
            if inode and inode[1] in sockets:
                found[inode[1]] = Listening(command_line(pid), *sockets[inode[1]])
    return list(found.values())


def _listening_sockets() -> dict[str, tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]]:
    """Address and port by inode, of all processes in this network namespace."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == _LISTENS:
                host, port = local.split(":")
                words = [int(host[i : i + 8], 16) for i in range(0, len(host), 8)]
                packed = struct.pack(f"={len(words)}I", *words)
                found[inode] = ipaddress.ip_address(packed), int(port, 16)
    return found
