"""The Ray that a run starts for itself: what it listens on, and what is left of it afterwards."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from raypose.execution.ray.guard import ray_processes
from tests.integration.conftest import Project
from tests.nodes import command_line, session_pids
from tests.sockets import listening
from tests.videos import make_video

pytestmark = [pytest.mark.ray, pytest.mark.slow]

N_FRAMES = 4000
CALLS = (  # what an outsider would ask first, of each kind of process
    "NodeInfoGcsService/GetAllNodeInfo",
    "InternalKVGcsService/InternalKVKeys",
    "NodeManagerService/GetNodeStats",
    "ObjectManagerService/Pull",
    "CoreWorkerService/GetCoreWorkerStats",
    "ReporterService/ReportMetrics",
)
PATHS = ("/", "/metrics", "/api/version", "/api/job_agent/jobs/", "/get_runtime_envs_info")
WRONG = "0" * 64


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "secret-subject.mp4"
    return Path(make_video(path, n_frames=N_FRAMES, gop=25))


@pytest.fixture
def run(project: Project, long_video: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that has just finished its first range, and goes on for a while.

    Its temporary folder is too long for Ray's sockets.
    """
    temporary = tmp_path / ("t" * 150)
    temporary.mkdir()
    out = tmp_path / "out"
    arguments = ["run", str(long_video), "-m", str(project.models[0]), "-o", str(out)]
    settings = ["--device", "cpu", "--chunk-frames", "100", "--batch-size", "4", "--no-report"]
    process = subprocess.Popen(
        [sys.executable, "-m", "raypose", *arguments, *settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    try:
        deadline = time.monotonic() + 120
        while not list(out.rglob("*.parquet")):
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.05)
        yield process
    finally:
        for pid in session_pids(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


def test_no_one_elsewhere_reaches_it_and_no_one_without_the_token_uses_it(
    run: subprocess.Popen[str],
) -> None:
    pids = session_pids(run.pid)
    sockets = listening(pids)
    assert [socket for socket in sockets if not socket.is_loopback] == []
    # GCS, raylet (2), driver, worker, coordinator and agents.
    assert len(sockets) >= 8, sockets

    refused = 0
    for socket in sockets:
        for token in ("", WRONG):
            if speaks_http(socket.port):
                for path in PATHS:
                    assert is_harmless(*get(socket.port, path, token)), (socket, path, token)
                continue
            for call in CALLS:
                code = ask(socket.port, call, token)
                assert code is not grpc.StatusCode.OK, (socket, call, token)
                refused += code is grpc.StatusCode.UNAUTHENTICATED
    assert refused >= 2 * 5  # GCS, raylet, driver, workers and the agent's own server

    gcs = next(pid for pid in pids if "gcs_server" in command_line(pid).split()[0])
    own = token_of(gcs)
    assert len(own) == 64
    [port] = [socket.port for socket in listening([gcs])]
    assert ask(port, CALLS[0], own) is grpc.StatusCode.OK


def ask(port: int, call: str, token: str) -> grpc.StatusCode:
    """What a gRPC server answers to an empty request."""
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary(f"/ray.rpc.{call}")(b"", timeout=5, metadata=metadata)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def speaks_http(port: int) -> bool:
    try:
        get(port, "/", "")
    except (OSError, http.client.HTTPException):
        return False
    return True


def get(port: int, path: str, token: str) -> tuple[int, bytes]:
    """Status and body that an HTTP server answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def is_harmless(status: int, body: bytes) -> bool:
    """Whether an answer is a refusal, or metrics alone."""
    return status >= 400 or body.lstrip().startswith(b"# HELP")


def token_of(pid: int) -> str:
    environment = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    [token] = [v for k, _, v in (e.partition("=") for e in environment) if k == "RAY_AUTH_TOKEN"]
    return token


def test_it_ends_with_a_run_that_is_killed(run: subprocess.Popen[str]) -> None:
    """The agents would live for minutes."""
    assert len(list(ray_processes(run.pid))) >= 6
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    deadline = time.monotonic() + 5
    while left := session_pids(run.pid):
        assert time.monotonic() < deadline, [command_line(pid) for pid in left]
        time.sleep(0.05)
    assert list(ray_processes(run.pid)) == []


# A run whose only task kills a process of Ray, and then never ends; or it ends before the driver,
# which it has stopped, can look.
KILLS = """
import dataclasses, os, sys, time

import ray
from raypose.config import RunConfig
from raypose.errors import ClusterError
from raypose.execution.ray import RayExecutor
from tests.tasks import make_task

class Stub:
    def __init__(self, number, computes, settings):
        pass

    def describe(self):
        import ray
        from raypose.execution.ray.worker import WorkerInfo

        return WorkerInfo("stub", ray.get_runtime_context().get_node_id(), "cpu")

    def run_task(self, task, attempt, shared, *inputs):
        import os, signal, subprocess, time
        from raypose.steps import Summary

        pid, driver, then = task.subject.split()
        if then == "ends":
            os.kill(int(driver), signal.SIGSTOP)
            subprocess.Popen(["sh", "-c", f"sleep 1; kill -CONT {driver}"])
        os.kill(int(pid), signal.SIGKILL)
        if then == "hangs":
            time.sleep(1000)
        return Summary(task.id, worker="stub"), None

class Observer:
    def progress(self, progress): ...
    def lost(self, worker, reason): ...
    def finished(self, summary):
        print("finished", summary.task)

config = RunConfig(videos=["v"], models=["m"], output_dir="o", device="cpu")
executor = RayExecutor(config, worker_class=Stub)
executor.start([], 0, lambda what: None)
[process] = ray._private.worker._global_node.all_processes[sys.argv[1]]
subject = f"{process.process.pid} {os.getpid()} {sys.argv[2]}"
began = time.monotonic()
try:
    executor.run([dataclasses.replace(make_task("t"), subject=subject)], Observer())
except ClusterError as error:
    print("error", error)
executor.close()
print(time.monotonic() - began)
"""


def lines_of_a_run_that_kills(process: str, then: str) -> list[str]:
    """What the run prints; the last line is how many seconds it took to end."""
    command = [sys.executable, "-c", KILLS, process, then]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return done.stdout.splitlines()


@pytest.mark.parametrize("process", ["gcs_server", "raylet"])
def test_a_run_whose_ray_dies_ends_soon_and_says_so(process: str) -> None:
    """Also while nothing makes progress; Ray would end the process after a minute."""
    said, seconds = lines_of_a_run_that_kills(process, "hangs")
    assert f"Ray on this machine has died (its process {process} ended). Run the same" in said
    assert float(seconds) < 15


def test_a_run_that_has_finished_when_ray_dies_has_succeeded() -> None:
    said, seconds = lines_of_a_run_that_kills("gcs_server", "ends")
    assert said == "finished t"
    assert float(seconds) < 15
