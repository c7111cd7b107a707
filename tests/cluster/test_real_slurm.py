"""The SLURM scripts under a real SLURM: to the end, cancelled, queued again, and continued."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.slurm import Slurm, missing, started
from tests.faults.job import Job

SCRIPTS = Path(__file__).parents[2] / "cluster" / "slurm"
ARRAY, RAY = SCRIPTS / "array.sbatch", SCRIPTS / "ray.sbatch"
ONE_GPU = ("--array=0-1", "--cpus-per-task=2", "--gpus=1", "--time=10")
TWO_NODES = ("--nodes=2", "--cpus-per-task=2", "--gpus-per-node=1", "--time=10")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def job_of_slurm() -> Iterator[Job]:
    if reason := missing():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="rp-job-"))
    yield Job(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def slurm(job_of_slurm: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    for name, value in job_of_slurm.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAYPOSE_RUN_DIR", str(tmp_path / "runs"))
    with started(Path(sys.prefix)) as running:
        yield running


def arguments(job: Job, out: Path) -> list[str]:
    """Of `raypose run`; the script gives the command itself."""
    return job.arguments(out)[1:]


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ranges(out: Path) -> int:
    return len(list(out.rglob("*.parquet.json")))


def check(slurm: Slurm, job: Job, out: Path) -> None:
    """The outputs are those of an undisturbed run, and the job left no process and no token."""
    assert list(job.differences(out)) == [], slurm.output()
    assert slurm.processes() == []
    assert not list(slurm.folder.glob(".raypose-*"))


def test_an_array(job_of_slurm: Job, slurm: Slurm, tmp_path: Path) -> None:
    out = tmp_path / "out"
    number = slurm.submit(ARRAY, arguments(job_of_slurm, out), *ONE_GPU)
    assert slurm.wait(number) == {"COMPLETED"}, slurm.output()
    check(slurm, job_of_slurm, out)


@pytest.mark.long
@pytest.mark.ray
def test_two_nodes_with_ray(job_of_slurm: Job, slurm: Slurm, tmp_path: Path) -> None:
    out = tmp_path / "out"
    number = slurm.submit(RAY, arguments(job_of_slurm, out), *TWO_NODES)
    assert slurm.wait(number) == {"COMPLETED"}, slurm.output()
    assert "2 logical GPU(s)" in slurm.output()
    check(slurm, job_of_slurm, out)


@pytest.mark.long
@pytest.mark.parametrize(
    ("script", "options"),
    [(ARRAY, ONE_GPU), pytest.param(RAY, TWO_NODES, marks=pytest.mark.ray)],
    ids=["array", "ray"],
)
def test_cancelled_and_submitted_again(
    job_of_slurm: Job, slurm: Slurm, tmp_path: Path, script: Path, options: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    number = slurm.submit(script, arguments(job_of_slurm, out), *options)
    wait_for(lambda: ranges(out) >= 1)
    slurm.run("scancel", number)
    assert slurm.wait(number) == {"CANCELLED"}, slurm.output()
    assert not list(out.rglob("*.tmp-*")) and "Traceback" not in slurm.output()
    assert slurm.processes() == []
    again = slurm.submit(script, arguments(job_of_slurm, out), *options)
    assert slurm.wait(again) == {"COMPLETED"}, slurm.output()
    check(slurm, job_of_slurm, out)


@pytest.mark.long
def test_queued_again(job_of_slurm: Job, slurm: Slurm, tmp_path: Path) -> None:
    """As by an administrator, or after its node failed."""
    out = tmp_path / "out"
    options = (*ONE_GPU, "--array=0-0", "--requeue")
    number = slurm.submit(ARRAY, arguments(job_of_slurm, out), *options)
    wait_for(lambda: ranges(out) >= 1)
    slurm.run("scontrol", "requeue", number)
    # SLURM begins it again after two minutes, unless it is told to at once.
    wait_for(lambda: slurm.states(number) == {"PENDING"})
    slurm.run("scontrol", "update", f"jobid={number}_0", "starttime=now")
    assert slurm.wait(number) == {"COMPLETED"}, slurm.output()
    check(slurm, job_of_slurm, out)


@pytest.mark.long
@pytest.mark.parametrize("script", [ARRAY, RAY], ids=["array", "ray"])
def test_the_signal_before_the_time_limit_reaches_raypose(
    slurm: Slurm, tmp_path: Path, script: Path
) -> None:
    """With a stand-in for raypose that says so; a minute is the shortest limit that SLURM has."""
    venv, said = tmp_path / "venv", tmp_path / "said"
    (venv / "bin").mkdir(parents=True)
    body = f"trap 'echo stopped >{said}; exit 130' TERM\nwhile true; do sleep 0.2; done\n"
    for name, text in (("raypose", body), ("ray", "echo Ray runtime started; sleep 90\n")):
        (venv / "bin" / name).write_text(f"#!/bin/bash\n{text}")
        (venv / "bin" / name).chmod(0o755)
    signal = "--signal=B:TERM@50" if script is RAY else "--signal=TERM@50"
    assert f"#SBATCH {signal.partition('@')[0]}@" in script.read_text()
    limits = ("--array=0-0",) if script is ARRAY else ("--nodes=1",)
    given = [*limits, "--gpus=1", "--cpus-per-task=1", "--time=1", signal]
    export = f"--export=ALL,RAYPOSE_VENV={venv}"
    number = slurm.submit(script, ["videos"], *given, export)
    wait_for(lambda: slurm.states(number) & {"RUNNING"})
    wait_for(said.exists)
    slurm.run("scancel", number)
