"""The SLURM scripts: read by bash and shellcheck, and what they say when something is missing.

`test_slurm_jobs.py` submits them to a real SLURM. Where that would not show the case, stand-ins do
on this machine what SLURM does on nodes: `srun` runs the command, `scancel` ends what `srun` has
started, `scontrol` names two nodes, and both are at the loopback address.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SLURM = Path(__file__).parents[2] / "cluster" / "slurm"
SCRIPTS = sorted(SLURM.glob("*.sbatch"))
REHEARSAL = SLURM.parent / "rehearsal.sh"

SRUN = """#!/bin/bash
echo $$ >>"$STEPS"
while [[ "$1" == --* ]]; do shift; done
exec "$@"
"""
SCANCEL = """#!/bin/bash
kill $(cat "$STEPS") 2>/dev/null
"""
SCONTROL = """#!/bin/bash
case "$*" in
    "show hostnames node[1-1]") echo node1 ;;
    "show hostnames node[1-2]") printf 'node1\\nnode2\\n' ;;
esac
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
        "STEPS": str(tmp_path / "steps"),
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


@pytest.mark.parametrize("n_nodes", [1, 2])
def test_where_ray_ends_by_itself_the_log_says_why(tmp_path: Path, n_nodes: int) -> None:
    """Ray starts on the head, but not on the second node; raypose fails in any case."""
    for name, text in (("srun", SRUN), ("scancel", SCANCEL), ("hostname", HOSTNAME)):
        stand_in(tmp_path / "bin", name, text)
    stand_in(tmp_path / "bin", "scontrol", SCONTROL)
    venv = tmp_path / "venv"
    venv.mkdir()
    ray = '[[ "$*" == *--head* ]] || { echo no port is free; exit 1; }\n'
    ray += "echo Ray runtime started\nexec sleep 30\n"
    stand_in(venv / "bin", "ray", f"#!/bin/bash\n{ray}")
    # It ends after the step on the second node: the third, since one asks for the head's address.
    wait = 'while kill -0 "$(sed -n 3p "$STEPS")"; do sleep 0.1; done\n' if n_nodes == 2 else ""
    wait_for_steps = f'until [[ $(wc -l <"$STEPS") == {1 + n_nodes} ]]; do sleep 0.1; done\n'
    stand_in(venv / "bin", "raypose", f"#!/bin/bash\n{wait_for_steps}{wait}exit 1\n")
    values = {"RAYPOSE_VENV": str(venv), "SLURM_JOB_NODELIST": f"node[1-{n_nodes}]"}
    job = subprocess.run(
        ["bash", SLURM / "ray.sbatch", "videos"],
        env=environment(tmp_path, **values),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert job.returncode == 1
    said = job.stderr.partition("Ray has ended on node2; it printed:\n")[2]
    assert said.splitlines() == ["no port is free"] * 3 * (n_nodes - 1)
    assert "Ray runtime started" not in job.stderr


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
