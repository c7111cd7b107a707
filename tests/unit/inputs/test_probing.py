"""Videos described by processes of their own, as by this one."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from raypose.inputs import probing
from raypose.inputs.probe import Unusable, known_index, recall
from raypose.specs import VideoSpec
from tests.videos import make_video


def test_as_here_in_order_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    paths = [make_video(tmp_path / f"{n}.mp4", n_frames=n) for n in (5, 9, 7)]
    paths.insert(1, tmp_path / "broken.mp4")
    paths[1].write_bytes(b"no video")
    keys = [path.stem for path in paths]
    found = probing.probe_in_processes(list(map(str, paths)), keys, 2)
    assert [video.key for video in found] == keys
    broken = found.pop(1)
    assert isinstance(broken, Unusable)
    assert str(broken.error) == str(probing.described(paths[1], "broken").error)  # type: ignore[union-attr]
    for path, video in zip((paths[0], *paths[2:]), found, strict=True):
        assert isinstance(video, VideoSpec)
        assert video == recall(path, video.key), "it is in the cache"
        index = known_index(video)
        assert index is not None and index.n_frames == int(path.stem)


def test_a_video_that_ends_its_process_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing.sys, "executable", "/bin/false")
    (found,) = probing.probe_in_processes([str(tmp_path / "a.mp4")], ["a"], 1)
    assert isinstance(found, Unusable)
    assert "the process that read it has died" in str(found.error)


def test_an_interruption_ends_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that hangs in a video does not keep the run from ending."""
    hangs = tmp_path / "python"
    hangs.write_text("#!/bin/sh\nexec sleep 60\n")
    hangs.chmod(0o755)
    monkeypatch.setattr(probing.sys, "executable", str(hangs))
    # A shell's background jobs ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])
    interrupt.start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            probing.probe_in_processes([str(tmp_path / "a.mp4")], ["a"], 1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 20
