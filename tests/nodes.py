"""Ray nodes for tests: processes on the loopback address, each node in its own session.

All processes of a node (`ray start --block`) carry the session's id, so that a node can be killed
at once, like a machine that loses power, and nothing outlives a test.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HEALTH = {"RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "2000"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def own_address() -> str:
    """This machine's address, as Ray finds it for its nodes."""
    import ray

    return str(ray.util.get_node_ip_address())


def session_pids(session: int) -> list[int]:
    """All processes of a session, from /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def command_line(pid: int) -> str:
    """The command of a process, its arguments separated by spaces; empty if it has ended."""
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        )
    except OSError:
        return ""


@dataclass
class Node:
    """One `ray start --block`."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """Kill all processes, like a machine that loses power."""
        deadline = time.monotonic() + 10
        while pids := session_pids(self.process.pid):
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.process.poll()
            assert time.monotonic() < deadline, pids
            time.sleep(0.05)
        self.process.wait()


@dataclass
class Nodes:
    """A cluster of nodes on this machine.

    Attributes:
        address: of the head, for `--address`.
        dashboard: its job server, for `raypose submit`; empty where it has none.
        token: of the cluster.
        temporary: Ray's own files. Clusters that share them mix up each other's jobs; the name is
            short, since it is part of names of sockets.
    """

    folder: Path
    temporary: Path
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    address: str = ""
    dashboard: str = ""
    nodes: list[Node] = field(default_factory=list)

    def environment(self, token: str | None = None) -> dict[str, str]:
        """For a process that connects to the cluster."""
        bin_dir = str(Path(sys.executable).parent)
        outside = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        return {
            **outside,
            "PATH": f"{bin_dir}:{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": token or self.token,
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def start_head(
        self,
        *options: str,
        jobs: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        within: str = "",
        **env: str,
    ) -> Node:
        port = port or free_port()
        self.address = f"{host}:{port}"
        where = ["--head", f"--node-ip-address={host}", f"--port={port}"]
        where.append(f"--temp-dir={self.temporary}")
        if jobs:
            dashboard_port = free_port()
            self.dashboard = f"http://127.0.0.1:{dashboard_port}"
            where += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard_port}"]
            where += [f"--dashboard-agent-listen-port={free_port()}"]
        else:
            where.append("--include-dashboard=false")
        return self._start([*where, *options], {**HEALTH, **env}, within)

    def start_worker(self, *options: str, within: str = "") -> Node:
        return self._start([f"--address={self.address}", *options], {}, within)

    def wait_for_gpus(self, n_gpus: int, timeout_s: float = 90) -> None:
        """Wait until the cluster has this number of GPUs; a process of its own asks."""
        code = (
            "import sys, time, ray\n"
            "ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')\n"
            "deadline = time.monotonic() + float(sys.argv[3])\n"
            "while ray.cluster_resources().get('GPU', 0) != float(sys.argv[2]):\n"
            "    assert time.monotonic() < deadline, ray.cluster_resources()\n"
            "    time.sleep(0.5)\n"
        )
        command = [sys.executable, "-c", code, self.address, str(n_gpus), str(timeout_s)]
        subprocess.run(command, env=self.environment(), check=True)

    def _start(self, options: list[str], env: Mapping[str, str], within: str) -> Node:
        log = self.folder / f"node-{len(self.nodes)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [
                    *inside(within),
                    *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options),
                ],
                env={**self.environment(), **env},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        node = Node(process, log)
        self.nodes.append(node)
        deadline = time.monotonic() + 90
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        return node


@dataclass(frozen=True)
class Link:
    """Two network namespaces of this machine, and the cable between them.

    Attributes:
        near: name of the one.
        far: name of the other.
        near_host: address in the one.
        far_host: address in the other.
    """

    near: str
    far: str
    near_host: str = "10.77.0.1"
    far_host: str = "10.77.0.2"

    def cut(self) -> None:
        """Drop all packets from now on, without telling either side."""
        _ip("-n", self.far, "link", "set", "veth-far", "down")


@contextmanager
def linked_namespaces() -> Iterator[Link]:
    """Two namespaces that reach each other and nothing else.

    Raises:
        OSError: there is no `ip`.
        subprocess.CalledProcessError: it is not allowed here.
    """
    mark = secrets.token_hex(3)
    link = Link(f"near-{mark}", f"far-{mark}")
    made = []
    try:
        for name in (link.near, link.far):
            _ip("netns", "add", name)
            made.append(name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", link.near, "link", "add", "veth-near", "type", "veth", "peer", "name",
            "veth-far", "netns", link.far)  # fmt: skip
        ends = ((link.near, "veth-near", link.near_host), (link.far, "veth-far", link.far_host))
        for name, device, host in ends:
            _ip("-n", name, "addr", "add", f"{host}/24", "dev", device)
            _ip("-n", name, "link", "set", device, "up")
        yield link
    finally:
        for name in made:
            _ip("netns", "del", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def inside(namespace: str) -> list[str]:
    """What a command begins with that runs in a namespace; nothing for this one."""
    return ["ip", "netns", "exec", namespace] if namespace else []


@contextmanager
def ray_nodes(folder: Path) -> Iterator[Nodes]:
    """A cluster with no node yet; all nodes are ended at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = Nodes(folder, Path(tempfile.mkdtemp(prefix="raypose-nodes-")))
    try:
        yield nodes
    finally:
        for node in reversed(nodes.nodes):
            node.kill()
        shutil.rmtree(nodes.temporary, ignore_errors=True)
