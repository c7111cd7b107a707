"""A real SLURM on this machine: two nodes, each with four cores and two logical GPUs.

Controller and nodes are SLURM's own daemons, under their own configuration, key and ports, so that
a SLURM that the machine belongs to is not touched. They need root.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.processes import processes_of, wait_until_none
from tests.nodes import free_port

DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
NODES = ("n1", "n2")
_MARK = "RAYPOSE_TEST_JOB"
"""Environment variable that jobs inherit from `sbatch`."""

_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
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
ReturnToService=2
GresTypes=gpu
KillWait=20
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
_NODE = "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 "
_NODE += "RealMemory=4000 Gres=gpu:2 State=UNKNOWN\n"


def missing() -> str:
    """Why SLURM can't be started here; empty where it can."""
    absent = [name for name in (*DAEMONS, *COMMANDS) if not _program(name)]
    if absent:
        return f"SLURM's programs are not installed: {', '.join(absent)}"
    return "" if os.geteuid() == 0 else "only root can start SLURM"


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


@dataclass(frozen=True)
class Slurm:
    """A running SLURM.

    Attributes:
        folder: with its configuration, logs and state.
        environment: for its commands, and for the jobs.
    """

    folder: Path
    environment: Mapping[str, str]

    @property
    def _mark(self) -> str:
        return self.environment[_MARK]

    def run(self, *command: str) -> str:
        """Run one of SLURM's commands; returns what it prints."""
        environment = dict(self.environment)
        answer = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert answer.returncode == 0, f"{' '.join(command)}: {answer.stderr}"
        return answer.stdout.strip()

    def submit(self, script: Path, arguments: Sequence[str], *options: str) -> str:
        """Submit a script with arguments; returns the job's number."""
        log = f"--output={self.folder}/%x-%j.log"
        return self.run("sbatch", "--parsable", log, *options, str(script), *arguments)

    def states(self, job: str) -> set[str]:
        """The states of a job, or of all jobs of an array."""
        lines = self.run("scontrol", "--oneliner", "show", "job", job).splitlines()
        fields = [field for line in lines for field in line.split()]
        return {field[9:] for field in fields if field.startswith("JobState=")}

    def wait(self, job: str, timeout_s: float = 240) -> set[str]:
        """Wait for a job's end; returns its states."""
        deadline = time.monotonic() + timeout_s
        while (states := self.states(job)) & {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING"}:
            assert time.monotonic() < deadline, f"{states}\n{self.output()}"
            time.sleep(0.3)
        return states

    def processes(self) -> list[str]:
        """What is left of the jobs, after some seconds."""
        return wait_until_none(lambda: processes_of(-1, self._mark, _MARK), 20)

    def output(self) -> str:
        """What all jobs have printed."""
        logs = sorted(self.folder.glob("raypose-*.log"))
        return "\n".join(f"== {log.name}\n{log.read_text(errors='replace')}" for log in logs)


@contextmanager
def started(venv: Path) -> Iterator[Slurm]:
    """Start SLURM; its jobs and daemons are ended afterwards. `venv` is that of the jobs."""
    folder = Path(tempfile.mkdtemp(prefix="rp-slurm-"))  # its sockets need a short path
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "RAY_"))},
        "SLURM_CONF": str(folder / "slurm.conf"),
        "RAYPOSE_VENV": str(venv),
        _MARK: folder.name,
    }
    slurm = Slurm(folder, environment)
    try:
        _configure(folder)
        _start_munge(folder)
        configuration = {"SLURM_CONF": environment["SLURM_CONF"]}
        _daemon(configuration, "slurmctld", "-c")
        for node in NODES:
            _daemon(configuration, "slurmd", "-N", node)
        deadline = time.monotonic() + 30
        while slurm.run("sinfo", "--noheader", "--states=idle", "--format=%D") != "2":
            assert time.monotonic() < deadline, (folder / "slurmctld.log").read_text()
            time.sleep(0.2)
        yield slurm
        subprocess.run(["scancel", "--user=root"], env=environment, check=False)
    finally:
        for pid_file in folder.glob("*.pid"):
            _end(pid_file)
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path) -> None:
    host = socket.gethostname().partition(".")[0]
    text = _CONFIGURATION.format(host=host, port=free_port(), folder=folder)
    nodes = [_NODE.format(node=node, host=host, port=free_port()) for node in NODES]
    # Nodes come before the partition that names all of them.
    before, _, after = text.partition("PartitionName")
    (folder / "slurm.conf").write_text(f"{before}{''.join(nodes)}PartitionName{after}")
    devices = [f"NodeName={n} Name=gpu File=/dev/{d}\n" for n in NODES for d in ("null", "zero")]
    (folder / "gres.conf").write_text("".join(devices))
    for name in ("state", *(f"spool.{node}" for node in NODES)):
        (folder / name).mkdir()


def _start_munge(folder: Path) -> None:
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log"}
    options = [f"--{option}={folder}/munge.{end}" for option, end in files.items()]
    _daemon({}, "munged", "--force", *options, f"--seed-file={folder}/munge.seed")


def _daemon(environment: Mapping[str, str], name: str, *options: str) -> None:
    program = _program(name)
    assert program is not None
    command = [program, *options]
    subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True)


def _end(pid_file: Path) -> None:
    try:
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
    except (OSError, ValueError):
        return
