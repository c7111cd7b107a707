"""A real SLURM on this machine: two nodes, each with four cores and two logical GPUs.

Controller and nodes are SLURM's own daemons with a configuration, a key and ports of their own, so
that a SLURM which the machine belongs to is not touched. They need root.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.nodes import free_port

NODES = ("n1", "n2")
_DAEMONS = ("munged", "slurmctld", "slurmd")
_COMMANDS = ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
_GOES_ON = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED"}

_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SlurmdParameters=config_overrides
GresTypes=gpu
FirstJobId={first_job}
"""
_NODE = "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 "
_NODE += "RealMemory=1000 Gres=gpu:2 State=UNKNOWN\n"
_PARTITION = "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"


def missing() -> str:
    """Why SLURM can't be started here; empty where it can."""
    absent = [name for name in (*_DAEMONS, *_COMMANDS) if _program(name) is None]
    if absent:
        return f"SLURM's programs are not installed: {', '.join(absent)}"
    if os.geteuid() != 0:
        return "only root can start SLURM"
    try:
        socket.gethostbyname(_host())
    except OSError:
        return f"the name of this machine, {_host()}, has no address"
    return ""


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


def _host() -> str:
    return socket.gethostname().partition(".")[0]


@dataclass(frozen=True)
class Slurm:
    """A running SLURM.

    Attributes:
        folder: with its configuration, logs and state.
        environment: of its commands.
    """

    folder: Path
    environment: Mapping[str, str]

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """Run one of SLURM's commands; returns what it prints."""
        answer = subprocess.run(
            command, env=dict(self.environment), cwd=cwd, capture_output=True, text=True
        )
        assert answer.returncode == 0, f"{' '.join(command)}: {answer.stderr}"
        return answer.stdout.strip()

    def submit(self, script: Path, arguments: Sequence[str], *options: str, cwd: Path) -> str:
        """Submit a script with arguments from a folder, which gets the log; the job's number."""
        command = ("sbatch", "--parsable", *options, str(script), *arguments)
        return self.run(*command, cwd=cwd)

    def fields(self, job: str) -> dict[str, str]:
        """What `scontrol` says of a job; of one of an array, its number is like `5_0`."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def log(self, job: str) -> str:
        """What a job has printed."""
        path = Path(self.fields(job)["StdOut"])
        return path.read_text(errors="replace") if path.exists() else ""

    def wait(self, job: str, state: str) -> dict[str, str]:
        """Wait until a job is in a state, and return its fields; it must not end in another."""
        fields: dict[str, str] = {}

        def reached() -> bool:
            nonlocal fields
            fields = self.fields(job)
            found = fields["JobState"]
            assert found in (state, *_GOES_ON), f"{found}\n{self.log(job)}"
            return found == state

        wait_until(reached)
        return fields


def wait_until(what: Callable[[], object], timeout_s: float = 240) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@contextmanager
def started(environment: Mapping[str, str]) -> Iterator[Slurm]:
    """Start SLURM; its jobs and daemons are ended afterwards. Jobs have the environment too."""
    folder = Path(tempfile.mkdtemp(prefix="rp-slurm-"))  # its sockets need a short path
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "RAY_"))}
    configuration = folder / "slurm.conf"
    slurm = Slurm(folder, {**outside, "SLURM_CONF": str(configuration), **environment})
    try:
        _configure(folder)
        _start_munge(folder)
        _daemon(slurm, "slurmctld", "-c")
        for node in NODES:
            _daemon(slurm, "slurmd", "-N", node)
        idle = ("sinfo", "--noheader", "--states=idle", "--format=%D")
        wait_until(lambda: slurm.run(*idle) == "2", 30)
        yield slurm
    finally:
        with suppress(subprocess.TimeoutExpired):
            command = ["scancel", "--user=root"]
            subprocess.run(command, env=dict(slurm.environment), check=False, timeout=20)
        _wait_for_ends(slurm)
        for pid_file in folder.glob("*.pid"):
            _kill(pid_file)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_ends(slurm: Slurm) -> None:
    """Wait a while for cancelled jobs, which there are after a failed test only."""
    command = ["squeue", "--noheader"]
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        with suppress(subprocess.TimeoutExpired):
            answer = subprocess.run(
                command, env=dict(slurm.environment), capture_output=True, timeout=10
            )
            if not answer.stdout:
                return
        time.sleep(0.2)


def _configure(folder: Path) -> None:
    host = _host()
    # Names in /tmp and ports depend on it: two test sessions should not have the same.
    first_job = 1 + secrets.randbelow(10**6)
    text = _CONFIGURATION.format(host=host, port=free_port(), folder=folder, first_job=first_job)
    nodes = [_NODE.format(node=node, host=host, port=free_port()) for node in NODES]
    (folder / "slurm.conf").write_text("".join([text, *nodes, _PARTITION]))
    # Any two devices: jobs see them as GPUs 0 and 1.
    devices = [f"NodeName={n} Name=gpu File=/dev/{d}\n" for n in NODES for d in ("null", "zero")]
    (folder / "gres.conf").write_text("".join(devices))
    for name in ("state", *(f"spool.{node}" for node in NODES)):
        (folder / name).mkdir()


def _start_munge(folder: Path) -> None:
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    ends = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log"}
    ends["seed-file"] = "seed"
    options = [f"--{option}={folder}/munge.{end}" for option, end in ends.items()]
    subprocess.run([_program("munged") or "", "--force", *options], check=True)


def _daemon(slurm: Slurm, name: str, *options: str) -> None:
    # As a service: with nothing of this shell.
    environment = {name: slurm.environment[name] for name in ("PATH", "SLURM_CONF")}
    command = [_program(name) or "", *options]
    subprocess.run(command, env=environment, check=True, capture_output=True)


def _kill(pid_file: Path) -> None:
    try:
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
    except (OSError, ValueError):
        return
