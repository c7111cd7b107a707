"""`raypose watch` as a rig leaves it: on Ray, quiet, over days, until something ends it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import Project
from tests.integration.test_run import temporaries
from tests.nodes import command_line, session_pids

pytestmark = [pytest.mark.slow, pytest.mark.ray]


def wait_until(what: Callable[[], object], watch: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 150
    while not what():
        assert watch.poll() is None and time.monotonic() < deadline, watch.communicate()
        time.sleep(0.1)


@pytest.fixture
def rig(project: Project, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts a quiet watch over the folder `videos` of the test, as a service would."""
    started = []

    def start() -> subprocess.Popen[str]:
        arguments = ["watch", str(tmp_path / "videos"), "-m", str(project.models[0]), "--quiet"]
        settings = ["-o", str(tmp_path / "out"), "--no-metrics", "--settle", "0.5"]
        process = subprocess.Popen(
            [sys.executable, "-m", "raypose", *arguments, *settings],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    (tmp_path / "videos").mkdir()
    yield start
    for process in started:
        for pid in session_pids(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


def test_two_batches_and_the_end_of_ray(
    rig: Callable[[], subprocess.Popen[str]], project: Project, tmp_path: Path
) -> None:
    out, videos = tmp_path / "out", tmp_path / "videos"
    report = out / "raypose" / "report.html"
    watch = rig()
    (videos / "broken.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(4000))
    shutil.copy(project.videos / "a.mp4", videos / "first.mp4")
    wait_until(report.exists, watch)
    written = report.stat().st_mtime_ns
    shutil.copy(project.videos / "long.mp4", videos / "second.mp4")
    wait_until(lambda: report.stat().st_mtime_ns > written, watch)
    page = report.read_text()
    assert "first" in page and "second" in page
    assert [path.stem for path in sorted(out.rglob("video_preds/*.csv"))] == ["first", "second"]
    gcs = [pid for pid in session_pids(watch.pid) if "gcs_server" in command_line(pid)]
    os.kill(gcs[0], signal.SIGKILL)
    said, complained = watch.communicate(timeout=60)
    assert watch.returncode == 1, complained
    assert said == ""
    assert ["broken.mp4" in line for line in complained.splitlines()] == [True, False], complained
    assert re.search(r"^error: .*Ray", complained, re.MULTILINE), complained
    assert temporaries(out) == []
