"""The SLURM scripts as jobs of a real SLURM: everything that can end a job, and what comes then.

Starting a job takes longer than what it does, so each job is used for more than one question.
"""

from __future__ import annotations

import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from raypose.config import EksOptions, RunConfig
from raypose.pipeline import run
from raypose.storage.claims import Claims, Holder, State
from raypose.storage.layout import CLAIMS, HIDDEN
from tests.cluster.slurm import Slurm, missing, started, wait_until
from tests.faults.job import files_in, unlike
from tests.faults.processes import processes_of, wait_until_none
from tests.models import make_model
from tests.videos import make_video

SCRIPTS = Path(__file__).parents[2] / "cluster" / "slurm"
ARRAY, RAY = SCRIPTS / "array.sbatch", SCRIPTS / "ray.sbatch"
N_FRAMES = {"a": 60, "b": 60, "c": 240}

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Work:
    """Two models, three videos, and the outputs of an undisturbed run."""

    root: Path

    @property
    def undisturbed(self) -> Path:
        return self.root / "undisturbed"

    @property
    def config(self) -> RunConfig:
        models = tuple(str(self.root / "models" / name) for name in ("m0", "m1"))
        return RunConfig(
            videos=(str(self.root / "videos"),),
            models=models,
            output_dir=self.undisturbed,
            eks=True,
            eks_options=EksOptions(smooth_param=10),
            metrics=False,
            device="cpu",
            batch_size=4,
            chunk_frames=20,
            inline=True,
        )

    def arguments(self, out: Path) -> list[str]:
        """The same for `raypose run`, into another folder."""
        models = [part for model in self.config.models for part in ("-m", model)]
        how = ["--eks", "--smooth-param", "10", "--no-metrics", "--device", "cpu"]
        how += ["--batch-size", "4", "--chunk-frames", "20"]
        return [*self.config.videos, *models, "-o", str(out), *how]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    if reason := missing():
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("slurm")
    for seed in range(2):
        make_model(root / "models" / f"m{seed}", seed=seed)
    (root / "videos").mkdir()
    for name, n_frames in N_FRAMES.items():
        make_video(root / "videos" / f"{name}.mp4", n_frames=n_frames, gop=10)
    made = Work(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYPOSE_CACHE_DIR", str(root / "cache"))  # jobs find the networks there
        result = run(made.config)
        assert result.ok, result.failures
        yield made


@pytest.fixture(scope="module")
def slurm(work: Work) -> Iterator[Slurm]:
    # Ray gives its workers a low priority: they would wait for other programs.
    with started({"RAYPOSE_VENV": sys.prefix, "RAY_worker_niceness": "0"}) as running:
        yield running


@dataclass(frozen=True)
class Jobs:
    """Jobs of one script, with one GPU on each node, which share an output folder."""

    slurm: Slurm
    work: Work
    script: Path
    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def submit(self, *options: str) -> str:
        """Submit the script from the folder; returns the number."""
        self.folder.mkdir(exist_ok=True)
        gpus = "--gpus-per-node=1" if self.script == RAY else "--gpus=1"
        given = ["--cpus-per-task=1", gpus, "--time=10", *options]
        arguments = self.work.arguments(self.out)
        return self.slurm.submit(self.script, arguments, *given, cwd=self.folder)

    def job(self, *options: str) -> Job:
        return Job(self, self.submit(*options))

    def ranges(self, video: str = "*") -> int:
        """Ranges of a video, or of all, that are predicted and kept until its table is."""
        return len(list(self.out.glob(f"*/video_preds/{HIDDEN}/ranges/{video}/*.parquet")))

    @contextmanager
    def other_run(self, video: str) -> Iterator[None]:
        """Another run that works on a video: jobs wait for it when they have done the rest."""
        with Claims(self.out / HIDDEN / CLAIMS, Holder.this_process()) as claims:
            assert claims.take(f"recording {video}").state is State.MINE
            yield

    def check_outputs(self) -> None:
        undisturbed = self.work.undisturbed
        names = files_in(undisturbed)
        assert files_in(self.out) == names
        tables = [name for name in names if name.endswith(".csv")]
        assert len(tables) == 9
        differences = {name: unlike(undisturbed / name, self.out / name) for name in tables}
        assert not any(differences.values()), differences
        assert not list(self.out.rglob("*.tmp-*"))
        assert not (self.out / HIDDEN / CLAIMS).exists()


@dataclass(frozen=True)
class Job:
    """A job, or one of an array: its number is like `5_0`."""

    of: Jobs
    number: str

    def fields(self) -> dict[str, str]:
        return self.of.slurm.fields(self.number)

    @property
    def log(self) -> str:
        return self.of.slurm.log(self.number)

    def update(self, **fields: str) -> None:
        given = [f"{name}={value}" for name, value in fields.items()]
        self.of.slurm.run("scontrol", "update", f"JobId={self.number}", *given)

    def wait_until_gone(self, state: str, *, lost_node: bool = False) -> dict[str, str]:
        """Wait until it is in a state that leaves no process and no file; returns its fields.

        What SLURM kills on a node that it takes for lost can't clean up in /tmp.
        """
        fields = self.of.slurm.wait(self.number, state)
        number = fields["JobId"]
        assert not wait_until_none(lambda: processes_of(-1, number, "SLURM_JOB_ID"), 30)
        left = list(Path("/tmp").glob(f"raypose-{number}-*"))
        if lost_node:
            for folder in left:
                shutil.rmtree(folder)
        else:
            assert not left
        assert not list(self.of.folder.glob(f".raypose-{number}-*"))
        assert "Traceback" not in self.log and "Ray has ended" not in self.log, self.log
        return fields

    def is_under_way(self) -> bool:
        """Whether it runs and has begun to predict."""
        assert self.fields()["JobState"] in ("PENDING", "CONFIGURING", "RUNNING"), self.log
        return "Running on" in self.log

    def is_stopped(self) -> bool:
        return "stopped: finished outputs are kept" in self.log


@pytest.mark.timeout(900)
def test_whatever_ends_a_job_the_next_one_continues(
    slurm: Slurm, work: Work, tmp_path: Path
) -> None:
    array = Jobs(slurm, work, ARRAY, tmp_path / "array")
    ray = Jobs(slurm, work, RAY, tmp_path / "ray")
    with array.other_run("c"), ray.other_run("c"):
        # Two jobs on each node.
        number = array.submit("--array=0-1", "--nodelist=n2")
        in_array = [Job(array, f"{number}_{i}") for i in range(2)]
        with_ray = [ray.job("--nodes=1", "--nodelist=n1") for _ in range(2)]
        running = [*in_array, *with_ray]
        wait_until(lambda: all([job.is_under_way() for job in running]))
        check_tokens(ray)
        cancel(in_array[0], with_ray[0])
        let_time_run_out(in_array[1], with_ray[1])
    assert len(list(array.folder.glob(f"raypose-runs/{number}/[01]/events.jsonl"))) == 2

    by_hand = Job(array, f"{array.submit('--array=0-0', '--nodelist=n1')}_0")
    by_slurm = ray.job("--nodes=2")
    wait_until(lambda: array.ranges("c"))
    slurm.run("scontrol", "requeue", by_hand.number)
    begin_again(by_hand)
    wait_until(lambda: ray.ranges("c"))
    of_nodes = list(Path("/tmp").glob(f"raypose-{by_slurm.number}-*/ray/session_2*"))
    assert len(of_nodes) == 2, "each node has Ray's files in a folder that it removes"
    slurm.run("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=test")
    begin_again(by_slurm, lost_node=True)
    slurm.run("scontrol", "update", "NodeName=n2", "State=RESUME")
    for job in (by_hand, by_slurm):
        assert job.wait_until_gone("COMPLETED")["Restarts"] == "1"
        job.of.check_outputs()
    assert "2 logical GPU(s)" in by_slurm.log


def check_tokens(ray: Jobs) -> None:
    """Other users can't join the clusters."""
    tokens = list(ray.folder.glob(".raypose-*/token"))
    assert [stat.S_IMODE(path.stat().st_mode) for path in tokens] == [0o600] * 2
    assert [stat.S_IMODE(path.parent.stat().st_mode) for path in tokens] == [0o700] * 2


def cancel(*jobs: Job) -> None:
    jobs[0].of.slurm.run("scancel", *(job.number for job in jobs))
    for job in jobs:
        job.wait_until_gone("CANCELLED")
        assert job.is_stopped(), job.log


def let_time_run_out(*jobs: Job) -> None:
    """SLURM sends the scripts' signal when less than two and a half minutes are left."""
    for job in jobs:
        job.update(TimeLimit=str(minutes(job) + 2))
    for job in jobs:
        assert job.wait_until_gone("FAILED")["ExitCode"] == "130:0"
        assert job.is_stopped(), job.log


def minutes(job: Job) -> int:
    """Full minutes that a job has run."""
    hours, minutes, _ = job.fields()["RunTime"].split(":")
    return 60 * int(hours) + int(minutes)


def begin_again(job: Job, *, lost_node: bool = False) -> None:
    """Let a job that SLURM has queued again begin at once; SLURM would wait for two minutes."""
    job.wait_until_gone("PENDING", lost_node=lost_node)
    job.update(StartTime="now")
