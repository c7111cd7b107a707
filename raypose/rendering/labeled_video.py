"""Labelled videos: a video with its predicted keypoints drawn on it.

The last step for a person who looks: takes predictions in memory and the video they were made
from, writes an MP4 of the same size, rate, rotation and colours. Markers and text are those of
Lightning Pose's own labelled videos: a filled circle in the keypoint's colour wherever the
likelihood is above the threshold; time and frame number in white on black in the upper left.

Frames are decoded, drawn on (`painting`) and encoded in one pass. A longer video is cut at its
keyframes into parts, which are drawn side by side and joined without encoding again: an encoder
with one thread does the same work in less time than its share of one with many.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypose.errors import CancelledError, TableError
from raypose.rendering.frame_renderer import Painter
from raypose.video.decoding import iter_frames
from raypose.video.index import VideoIndex, index_video
from raypose.video.joining import join_parts
from raypose.video.mp4 import check_shown
from raypose.video.reader import read_ahead
from raypose.video.writer import LABELED, EncoderSettings, VideoWriter

_CHECK_EVERY = 16
_AHEAD = 8
_MAX_PARTS = 8
_MIN_PART_FRAMES = 240
"""Some twenty times what an encoder looks ahead."""


@dataclass(frozen=True, slots=True)
class OverlayStats:
    """What drawing a labelled video took.

    Attributes:
        n_frames: frames written.
        n_undecodable: of those, frames that are missing; they show the picture before.
        seconds: wall time.
        file_size: bytes written.
    """

    n_frames: int
    n_undecodable: int
    seconds: float
    file_size: int


def draw_labeled_video(
    video: str | os.PathLike[str] | VideoIndex,
    xy: NDArray[np.floating[Any]],
    likelihood: NDArray[np.floating[Any]],
    out_path: str | os.PathLike[str],
    *,
    threshold: float,
    colormap: str = "cool",
    start: int = 0,
    stop: int | None = None,
    dot_radius: int | None = None,
    settings: EncoderSettings = LABELED,
    on_progress: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> OverlayStats:
    """Draw the keypoints of a video, or of a part of it, and encode it.

    Args:
        video: the file, or its index.
        xy: keypoints of the whole video in pixels of the frame as it is shown, (N, K, 2).
        likelihood: (N, K).
        out_path: the MP4 to write.
        threshold: markers are drawn where the likelihood is above it.
        colormap: matplotlib's name of the colours of the markers.
        start: first frame to write. Time and frame number in the picture are always those of
            the whole video.
        stop: frame after the last; None for the end.
        dot_radius: of the markers, in pixels; None for 4, less in frames below 193 pixels.
        settings: of the encoder.
        on_progress: called with the number of frames written so far.
        should_stop: asked now and then whether to give up.

    Returns:
        What was written.

    Raises:
        TableError: the number of rows is not the number of frames.
        VideoError: the video can't be read.
        OutputError: the file can't be written, or would not show each of the frames.
        CancelledError: `should_stop` said so.
    """
    began = time.perf_counter()
    index = video if isinstance(video, VideoIndex) else index_video(video)
    stop = index.n_frames if stop is None else stop
    if len(xy) != index.n_frames or len(likelihood) != index.n_frames:
        raise TableError(
            f"the predictions have {len(xy)} rows but the video has {index.n_frames} frames",
            path=index.path,
            hint="Predict this video again.",
        )

    def paint_and_write(first: int, end: int, path: str, threads: int, go_on: _GoOn) -> int:
        painter = Painter(index, xy, likelihood, threshold, colormap, dot_radius)
        how = replace(settings, threads=threads)
        return _draw(index, painter, first, end, path, how, go_on, from_start=first == start)

    n_cores = os.cpu_count() or 1
    bounds = part_bounds(index, start, stop, min(n_cores, _MAX_PARTS))
    go_on = _GoOn(index.path, on_progress, should_stop)
    if len(bounds) == 2:
        n_undecodable = paint_and_write(start, stop, os.fspath(out_path), 0, go_on)
    else:
        n_threads = n_cores // (len(bounds) - 1)
        n_undecodable = _draw_parts(
            index,
            bounds,
            os.fspath(out_path),
            lambda first, end, path: paint_and_write(first, end, path, n_threads, go_on),
            go_on,
        )
    check_shown(out_path, stop - start)
    return OverlayStats(
        n_frames=stop - start,
        n_undecodable=n_undecodable,
        seconds=time.perf_counter() - began,
        file_size=os.path.getsize(out_path),
    )


def part_bounds(index: VideoIndex, start: int, stop: int, n_parts: int) -> list[int]:
    """Where a range is cut into parts of about equal length, both ends included.

    Parts begin at keyframes, so that no frame is decoded twice, and are not so short that
    starting an encoder would matter. A video of variable rate stays whole: how x264 spaces
    decoding times at a beginning would not fit to what comes before.
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


class _GoOn:
    """Asked and told between frames by everybody who draws a part."""

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
        """So many more are written.

        Raises:
            CancelledError: the run was stopped, or another part came to nothing.
        """
        with self._lock:
            self._n_done += n_frames
            if self._given_up or (self._should_stop is not None and self._should_stop()):
                raise CancelledError("stopped while drawing", path=self._path)
            if self._on_progress is not None:
                self._on_progress(self._n_done)

    def give_up(self) -> None:
        """The other parts are of no use any more."""
        self._given_up = True


def _draw_parts(
    index: VideoIndex,
    bounds: Sequence[int],
    out_path: str,
    draw: Callable[[int, int, str], int],
    go_on: _GoOn,
) -> int:
    """Draw parts side by side and join them; the number of undecodable frames."""
    folder, name = os.path.split(out_path)
    # Beside the output, and named so that they are known for what a killed process left behind.
    paths = [os.path.join(folder, f"part{k}-{name}") for k in range(len(bounds) - 1)]

    def part(first: int, end: int, path: str) -> int:
        try:
            return draw(first, end, path)
        except BaseException:
            go_on.give_up()
            raise

    try:
        with ThreadPoolExecutor(len(paths), "raypose-draw") as pool:
            jobs = [
                pool.submit(part, *ends, path)
                for ends, path in zip(pairwise(bounds), paths, strict=True)
            ]
            try:
                wait(jobs)
            except BaseException:
                go_on.give_up()
                raise
        errors = [error for job in jobs if (error := job.exception()) is not None]
        # What made the others give up is the one to tell of.
        errors.sort(key=lambda error: isinstance(error, CancelledError))
        if errors:
            raise errors[0]
        begins = [int(index.pts[first] - index.pts[bounds[0]]) for first in bounds[:-1]]
        join_parts(paths, begins, out_path, index)
        return sum(job.result() for job in jobs)
    finally:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _draw(
    index: VideoIndex,
    painter: Painter,
    start: int,
    stop: int,
    out_path: str,
    settings: EncoderSettings,
    go_on: _GoOn,
    *,
    from_start: bool,
) -> int:
    """Draw and encode a range; the number of undecodable frames."""
    n_undecodable = n_told = 0
    with (
        read_ahead(iter_frames(index, start, stop, threads=settings.threads), _AHEAD) as frames,
        VideoWriter(out_path, index, settings) as writer,
    ):
        for n, frame, _ in frames:
            n_undecodable += frame is None
            if frame is None and n == start and not from_start:
                frame = _picture_before(index, start)
            painter.paint(n, frame)
            writer.write(painter.canvas, int(index.pts[n] - index.pts[start]))
            done = n + 1 - start
            if done % _CHECK_EVERY == 0 or n + 1 == stop:
                go_on.done(done - n_told)
                n_told = done
    return n_undecodable


def _picture_before(index: VideoIndex, n: int) -> Any | None:
    """The last frame before `n` that decodes, of the group of pictures there."""
    earlier = index.keyframes[index.keyframes < n]
    last = None
    for _, frame, _ in iter_frames(index, int(earlier[-1]), n):
        last = frame if frame is not None else last
    return last
