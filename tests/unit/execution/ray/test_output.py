"""What Ray prints in the driver goes to a file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, sys
from pathlib import Path
import ray
from raypose.execution.ray.output import RayOutput

path = Path(sys.argv[1]) if len(sys.argv) > 1 else None
output = RayOutput(path)
os.write(2, b"before\\n")
output.redirect()
os.write(2, b"[2026-11-01 E 1 2] native_code.cc:1: gone\\n")
data = {"lines": ["Raylet is terminated", "[state-dump]"], "pid": "raylet", "is_err": False}
ray._private.worker.print_to_stdstream(data, ignore_prefix=False)
print("ours")
output.restore()
output.restore()
os.write(2, b"after\\n")
assert ray._private.worker.print_to_stdstream.__module__.startswith("ray")
"""


def run(*arguments: str) -> tuple[str, str]:
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True
    )
    return process.stdout, process.stderr


def test_rays_lines_go_to_the_file(tmp_path: Path) -> None:
    log = tmp_path / "ray.log"
    assert run(str(log)) == ("ours\n", "before\nafter\n")
    lines = log.read_text().splitlines()
    assert lines[0].endswith("native_code.cc:1: gone")
    assert lines[1:] == ["Raylet is terminated", "[state-dump]"]


def test_without_a_file_they_are_dropped() -> None:
    assert run() == ("ours\n", "before\nafter\n")


def test_a_file_with_nothing_in_it_does_not_stay(tmp_path: Path) -> None:
    from raypose.execution.ray.output import RayOutput

    output = RayOutput(tmp_path / "ray.log")
    output.redirect()
    output.restore()
    assert not (tmp_path / "ray.log").exists()


def test_a_place_that_can_not_be_written_changes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from raypose.execution.ray.output import RayOutput

    output = RayOutput(tmp_path / "nowhere" / "ray.log")
    output.redirect()
    os.write(2, b"still there\n")
    output.restore()
    assert capfd.readouterr().err == "still there\n"
