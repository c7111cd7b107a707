"""Frames of a video, rendered one by one and encoded into an MP4.

Used by labelled videos and snippets. A range of frames is cut at keyframes into parts, which are
rendered side by side and joined without encoding again: encoders with one thread each do the work
in less time than one with many. What a frame shows is the caller's affair.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import Any

import numpy as np

from raypose.errors import CancelledError
from raypose.video.copying import join_parts
from raypose.video.decoding import iter_frames
from raypose.video.index import VideoIndex
from raypose.video.mp4 import check_shown
from raypose.video.reader import read_ahead
from raypose.video.writer import EncoderSettings, VideoWriter

Render = Callable[[int, Any | None], Any]
"""Frame number and decoded frame (None where it is missing) → the picture to encode."""

_CHECK_EVERY = 16
_AHEAD = 8
_MAX_PARTS = 8
_MIN_PART_FRAMES = 240
"""Some twenty times what an encoder looks ahead."""
_FRAMES_HELD = 64
"""Frames that decoder, queue and encoder of one part hold at most."""


def encode_frames(
    index: VideoIndex,
    start: int,
    stop: int,
    out_path: str | os.PathLike[str],
    new_renderer: Callable[[], Render],
    settings: EncoderSettings,
    *,
    threads: int = 1,
    memory_bytes: int | None = None,
    on_progress: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> int:
    """Render and encode frames `start` to `stop`, each shown when it was, from time 0 on.

    `new_renderer` makes the renderer of one part, which is called with its frames in order. The
    other arguments, the result and the errors are those of `cut_snippet`.
    """
    out_path = os.fspath(out_path)
    guard = _ProgressGuard(index.path, on_progress, should_stop)
    bounds = part_bounds(index, start, stop, _most_parts(index, threads, memory_bytes))
    part_threads = threads // (len(bounds) - 1)

    def encode(first: int, end: int, path: str) -> None:
        render = new_renderer()
        with guard.giving_up():
            if first > start:
                render = _with_picture_before(render, index, first)
            _encode_part(index, first, end, path, render, settings, part_threads, guard)

    if len(bounds) == 2:
        encode(start, stop, out_path)
    else:
        _encode_parts(index, bounds, out_path, encode, guard)
    check_shown(out_path, stop - start)
    return stop - start


def _most_parts(index: VideoIndex, threads: int, memory_bytes: int | None) -> int:
    n_parts = min(threads, _MAX_PARTS)
    if memory_bytes is None:
        return n_parts
    part_bytes = _FRAMES_HELD * index.width * index.height * 3 // 2
    return max(1, min(n_parts, memory_bytes // part_bytes))


def part_bounds(index: VideoIndex, start: int, stop: int, n_parts: int) -> list[int]:
    """Where a range is cut into parts of about equal length, both ends included.

    Parts begin at keyframes, so that no frame is decoded twice, and are long enough that the
    start of an encoder does not matter. A video of variable rate stays whole: the decoding times
    at the beginning of a part would not follow on from those before.
    """
    n_parts = min(n_parts, (stop - start) // _MIN_PART_FRAMES)
    if n_parts < 2 or index.is_vfr or not index.seekable:
        return [start, stop]
    keys = index.keyframes[(index.keyframes > start) & (index.keyframes < stop)]
    wanted = np.linspace(start, stop, n_parts + 1)[1:-1]
    near = {int(keys[np.abs(keys - place).argmin()]) for place in wanted} if len(keys) else set()
    bounds = [start]
    for cut in (*sorted(near), stop):
        if cut - bounds[-1] >= _MIN_PART_FRAMES // 2:
            bounds.append(cut)
    bounds[-1] = stop
    return bounds


class _ProgressGuard:
    """Adds up the progress of all parts, and stops them together."""

    def __init__(
        self,
        path: str,
        on_progress: Callable[[int], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        self._path, self._on_progress, self._should_stop = path, on_progress, should_stop
        self._lock = threading.Lock()
        self._n_done = 0
        self._given_up = False

    def done(self, n_frames: int) -> None:
        """Another `n_frames` are written.

        Raises:
            CancelledError: the run was stopped, or another part failed.
        """
        with self._lock:
            self._n_done += n_frames
            if self._given_up or (self._should_stop is not None and self._should_stop()):
                raise CancelledError("stopped while encoding a video", path=self._path)
            if self._on_progress is not None:
                self._on_progress(self._n_done)

    @contextlib.contextmanager
    def giving_up(self) -> Any:
        """Stop the other parts where this one fails."""
        try:
            yield
        except BaseException:
            self._given_up = True
            raise


def _encode_parts(
    index: VideoIndex,
    bounds: Sequence[int],
    out_path: str,
    encode: Callable[[int, int, str], None],
    guard: _ProgressGuard,
) -> None:
    """Encode parts side by side and join them."""
    folder, name = os.path.split(out_path)
    # Beside the output, and named so that what a killed process leaves behind is recognised.
    paths = [os.path.join(folder, f"part{k}-{name}") for k in range(len(bounds) - 1)]
    try:
        with ThreadPoolExecutor(len(paths), "raypose-draw") as pool, guard.giving_up():
            jobs = [
                pool.submit(encode, *ends, path)
                for ends, path in zip(pairwise(bounds), paths, strict=True)
            ]
            wait(jobs)
        errors = [error for job in jobs if (error := job.exception()) is not None]
        if errors:
            # The error that made the other parts give up.
            raise min(errors, key=lambda error: isinstance(error, CancelledError))
        begins = [int(index.pts[first] - index.pts[bounds[0]]) for first in bounds[:-1]]
        join_parts(paths, begins, out_path, index)
    finally:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _encode_part(
    index: VideoIndex,
    start: int,
    stop: int,
    out_path: str,
    render: Render,
    settings: EncoderSettings,
    threads: int,
    guard: _ProgressGuard,
) -> None:
    # One thread does all. With more, the encoder has most of the work, and one thread decodes
    # ahead; the caller's sleeps until the encoder takes a frame.
    ahead = _AHEAD if threads > 1 else 0
    decode = max(1, threads // 4)
    encode = max(threads - decode, min(threads, 2))
    n_told = start
    with (
        read_ahead(iter_frames(index, start, stop, threads=decode), ahead) as frames,
        VideoWriter(out_path, index, settings, threads=encode) as writer,
    ):
        for n, frame, _ in frames:
            writer.write(render(n, frame), int(index.pts[n] - index.pts[start]))
            if (n + 1 - start) % _CHECK_EVERY == 0 or n + 1 == stop:
                guard.done(n + 1 - n_told)
                n_told = n + 1


def _with_picture_before(render: Render, index: VideoIndex, first: int) -> Render:
    """A part that begins with a missing frame shows the last picture of the part before."""

    def render_part(n: int, frame: Any | None) -> Any:
        if frame is None and n == first:
            keyframe = index.keyframes[index.keyframes < first][-1]
            for _, earlier, _ in iter_frames(index, int(keyframe), first):
                frame = frame if earlier is None else earlier
        return render(n, frame)

    return render_part
