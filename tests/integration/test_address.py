"""Joining a Ray cluster that runs already, as a user does it: `--address` and a token."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.conftest import N_FRAMES, Project

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@dataclass(frozen=True)
class Head:
    address: str
    token: str

    def environment(self, token: str | None = None) -> dict[str, str]:
        return {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token or self.token}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head node of its own with one logical GPU, ended by its process group."""
    cluster = Head(f"127.0.0.1:{free_port()}", secrets.token_hex(32))
    port = cluster.address.partition(":")[2]
    ray = Path(sys.executable).with_name("ray")
    log = (tmp_path_factory.mktemp("head") / "log").open("w+")
    where = ("--node-ip-address=127.0.0.1", f"--port={port}")
    what = ("--num-cpus=2", "--num-gpus=1", "--include-dashboard=false")
    process = subprocess.Popen(
        [str(ray), "start", "--head", "--block", *where, *what],
        env=cluster.environment(),
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    deadline = time.monotonic() + 90
    while "Ray runtime started" not in Path(log.name).read_text():
        assert process.poll() is None and time.monotonic() < deadline, Path(log.name).read_text()
        time.sleep(0.2)
    yield cluster
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    log.close()


def raypose(
    project: Project, out: Path, head: Head, token: str | None = None
) -> subprocess.CompletedProcess[str]:
    models = [flag for model in project.models for flag in ("-m", str(model))]
    command = [sys.executable, "-m", "raypose", "run", str(project.videos), *models]
    return subprocess.run(
        [*command, "-o", str(out), "--eks", "--no-metrics", "--address", head.address],
        env=head.environment(token),
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_a_run_joins_a_cluster(project: Project, tmp_path: Path, head: Head) -> None:
    ran = raypose(project, tmp_path, head)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"the Ray cluster {head.address}" in ran.stdout
    assert len(list((tmp_path / "eks" / "video_preds").glob("*.csv"))) == len(N_FRAMES)


def test_a_wrong_token_is_one_clear_line(project: Project, tmp_path: Path, head: Head) -> None:
    ran = raypose(project, tmp_path, head, token=secrets.token_hex(32))
    assert ran.returncode == 1
    assert "Traceback" not in ran.stdout + ran.stderr
    last = ran.stderr.strip().splitlines()[-1]
    assert "token" in last and head.address in last
