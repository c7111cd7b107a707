"""The SLURM scripts: read by bash and shellcheck, and run with stand-ins for SLURM's commands.

The stand-ins do on this machine what SLURM does on nodes: `srun` runs the command, `scontrol`
names two nodes, and both are at the loopback address.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from raypose.config import RunConfig
from tests.integration.conftest import N_FRAMES, Project, project  # noqa: F401

SLURM = Path(__file__).parents[2] / "cluster" / "slurm"
SCRIPTS = sorted(SLURM.glob("*.sbatch"))
REHEARSAL = SLURM.parent / "rehearsal.sh"

SRUN = """#!/bin/bash
echo "$*" >>"$SRUN_LOG"
while [[ "$1" == --* ]]; do shift; done
exec "$@"
"""
SCONTROL = """#!/bin/bash
[[ "$*" == "show hostnames node[1-2]" ]] && printf 'node1\\nnode2\\n'
"""
HOSTNAME = """#!/bin/bash
[[ "$1" == --ip-address ]] && echo 127.0.0.1 || exec /bin/hostname "$@"
"""


def shellcheck(path: Path) -> str:
    tool = Path(sys.executable).with_name("shellcheck")
    command = [tool, "--shell=bash", "--enable=quote-safe-variables", path]
    return subprocess.run(command, capture_output=True, text=True).stdout


def stand_in(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def environment(tmp_path: Path, **values: str) -> dict[str, str]:
    """What SLURM would set, with the stand-ins first on PATH."""
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "RAY_"))}
    return {
        **outside,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "SRUN_LOG": str(tmp_path / "srun.log"),
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_ID": str(os.getpid()),
        **values,
    }


@pytest.mark.parametrize("path", [*SCRIPTS, REHEARSAL], ids=lambda path: path.name)
def test_bash_and_shellcheck_have_nothing_to_say(path: Path) -> None:
    subprocess.run(["bash", "-n", path], check=True)
    assert shellcheck(path) == ""


def test_shellcheck_is_awake(tmp_path: Path) -> None:
    (tmp_path / "bad.sh").write_text("#!/bin/bash\nrm $1/*.csv\n")
    assert "SC2086" in shellcheck(tmp_path / "bad.sh")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_slurms_directives_come_before_any_command(path: Path) -> None:
    """`sbatch` reads none after the first command, without a word."""
    lines = path.read_text().splitlines()
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [i for i, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert directives and max(directives) < first_command
    assert any("--time=" in lines[i] for i in directives)
    assert any("--gpus" in lines[i] for i in directives)


@pytest.mark.slow
@pytest.mark.ray
def test_the_script_with_ray_runs_on_two_nodes(
    project: Project,  # noqa: F811
    tmp_path: Path,
) -> None:
    bin_dir = tmp_path / "bin"
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("hostname", HOSTNAME)):
        stand_in(bin_dir, name, text)
    models = [flag for model in project.models for flag in ("-m", str(model))]
    out = tmp_path / "out"
    job = subprocess.Popen(
        ["bash", SLURM / "ray.sbatch", project.videos, *models, "--eks", "-o", out],
        env=environment(
            tmp_path,
            RAYPOSE_VENV=sys.prefix,
            SLURM_JOB_NODELIST="node[1-2]",
            SLURM_GPUS_ON_NODE="1",
            SLURM_CPUS_PER_TASK="2",
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = job.communicate(timeout=270)
    finally:
        kill_group(job.pid)
    assert job.returncode == 0, output
    assert "2 logical GPU(s)" in output
    assert len(list((out / "eks" / "video_preds").glob("*_temporal_norm.csv"))) == len(N_FRAMES)
    # Head and worker were started on their own nodes, with the health checks and no job port.
    steps = (tmp_path / "srun.log").read_text()
    assert "--nodelist=node1 --overlap ray start --head" in steps
    assert "--nodelist=node2 --overlap ray start --address=127.0.0.1:" in steps
    assert "--include-dashboard=false" in steps
    # The token is gone with the job.
    assert not list(tmp_path.glob(".raypose-*"))


def kill_group(pid: int) -> None:
    """End what a stand-in left behind; SLURM does that itself at the end of a job."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def test_the_token_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Seen by a stand-in of srun, at the moment when the head would start."""
    look = 'echo "${RAY_AUTH_MODE} $(stat -c %a "$RAY_AUTH_TOKEN_PATH")" >>"$SRUN_LOG"\nexit 1\n'
    stand_in(tmp_path / "bin", "srun", "#!/bin/bash\n" + look)
    stand_in(tmp_path / "bin", "scontrol", SCONTROL)
    values = {"RAYPOSE_VENV": sys.prefix, "SLURM_JOB_NODELIST": "node[1-2]"}
    job = subprocess.run(
        ["bash", SLURM / "ray.sbatch", "videos"], env=environment(tmp_path, **values), timeout=30
    )
    assert job.returncode == 1
    assert (tmp_path / "srun.log").read_text().split() == ["token", "600"]
    assert not list(tmp_path.glob(".raypose-*"))


@pytest.mark.parametrize(("code", "shown"), [(0, False), (1, True), (130, False)])
def test_rays_logs_are_shown_after_a_failure_only(tmp_path: Path, code: int, shown: bool) -> None:
    venv = tmp_path / "venv"
    venv.mkdir()
    stand_in(tmp_path / "bin", "srun", SRUN)
    stand_in(tmp_path / "bin", "scontrol", SCONTROL)
    stand_in(tmp_path / "bin", "hostname", HOSTNAME)
    stand_in(venv / "bin", "ray", "#!/bin/bash\necho Ray runtime started\nexec sleep 30\n")
    stand_in(venv / "bin", "raypose", f"#!/bin/bash\nexit {code}\n")
    values = {"RAYPOSE_VENV": str(venv), "SLURM_JOB_NODELIST": "node[1-2]"}
    job = subprocess.run(
        ["bash", SLURM / "ray.sbatch", "videos"],
        env=environment(tmp_path, **values),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert job.returncode == code
    assert ("Ray runtime started" in job.stderr) == shown


def test_each_job_of_an_array_does_the_same_with_a_log_of_its_own(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    venv.mkdir()
    stand_in(venv / "bin", "raypose", '#!/bin/bash\nprintf "%s\\n" "$@"\n')
    values = {
        "RAYPOSE_VENV": str(venv),
        "SLURM_ARRAY_JOB_ID": "77",
        "SLURM_ARRAY_TASK_ID": "2",
    }
    job = subprocess.run(
        ["bash", SLURM / "array.sbatch", "a video.mp4", "-m", "m"],
        env=environment(tmp_path, **values),
        capture_output=True,
        text=True,
        check=True,
    )
    run_dir = str(tmp_path / "raypose-runs" / "77" / "2")
    given = ["run", "--inline", "--run-dir", run_dir, "a video.mp4", "-m", "m"]
    assert job.stdout.splitlines() == given
    assert {"inline", "run_dir"} <= RunConfig.model_fields.keys()


def test_without_raypose_it_says_so(tmp_path: Path) -> None:
    values = {"RAYPOSE_VENV": str(tmp_path / "nothing"), "PATH": "/usr/bin:/bin"}
    for script in SCRIPTS:
        job = subprocess.run(
            ["bash", script],
            env=environment(tmp_path, **values),
            capture_output=True,
            text=True,
        )
        assert job.returncode == 2 and "RAYPOSE_VENV" in job.stderr
