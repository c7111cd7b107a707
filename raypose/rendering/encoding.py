"""Frames of a video, rendered one by one and encoded into an MP4.

A range of frames is cut at keyframes into parts, which are rendered side by side and joined
without encoding again: encoders with one thread each do the work in less time than one with many.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from raypose.errors import CancelledError
from raypose.video.decoding import iter_frames
from raypose.video.index import VideoIndex
from raypose.video.reader import read_ahead
from raypose.video.writer import EncoderSettings, VideoWriter, check_shown, join_parts

if TYPE_CHECKING:
    from typing_extensions import Unpack

Render = Callable[[int, Any | None], Any]
"""Frame number and decoded frame (None where it is missing) → the picture to encode."""


_CHECK_EVERY = 16
_AHEAD = 8
_MAX_PARTS = 8
_MIN_PART_FRAMES = 240
"""Some twenty times what an encoder looks ahead."""
_FRAMES_HELD = 64
"""Frames that decoder, queue and encoder of one part hold at most."""


class EncodeOptions(TypedDict, total=False):
    """What an encoding may take, and whom it tells and asks."""

    threads: int  # that it may use; 1 by default
    memory_bytes: int | None  # that it may take; None, the default, for no limit
    on_progress: Callable[[int], None] | None  # called with the number of frames written so far
    should_stop: Callable[[], bool] | None  # asked now and then whether to give up


def encode_frames(
    index: VideoIndex,
    start: int,
    stop: int,
    out_path: str | os.PathLike[str],
    new_renderer: Callable[[], Render],
    settings: EncoderSettings,
    *,
    like: VideoIndex | None = None,
    **options: Unpack[EncodeOptions],
) -> int:
    """Render and encode frames `start` to `stop`, each shown when it was, from time 0 on.

    `new_renderer` makes the renderer of one part, which is called with its frames in order; `like`
    has the size of what it renders, where that is not the video's. The other arguments, the
    result and the errors are those of `cut_snippet`.
    """
    like = like or index
    out_path = os.fspath(out_path)
    threads, memory_bytes = options.get("threads", 1), options.get("memory_bytes")
    n_parts = min(threads, _MAX_PARTS)
    if memory_bytes is not None:
        part_bytes = _FRAMES_HELD * like.width * like.height * 3 // 2
        n_parts = max(1, min(n_parts, memory_bytes // part_bytes))
    bounds = part_bounds(index, start, stop, n_parts)
    threads //= len(bounds) - 1
    encoding = _Encoding(index, like, start, new_renderer, settings, threads, options)
    if len(bounds) == 2:
        encoding.part(start, stop, out_path)
    else:
        encoding.parts(bounds, out_path)
    check_shown(out_path, stop - start)
    return stop - start


def part_bounds(index: VideoIndex, start: int, stop: int, n_parts: int) -> list[int]:
    """Where a range is cut into parts of about equal length, both ends included.

    Parts begin at keyframes, and are long enough that the start of an encoder does not matter. A
    video of variable rate stays whole: decoding times would not follow on from part to part.
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


@dataclass(slots=True)
class _Encoding:
    """Encodes parts of a range; adds up their progress, and stops them together."""

    index: VideoIndex
    like: VideoIndex  # with the size of what is rendered
    start: int
    new_renderer: Callable[[], Render]
    settings: EncoderSettings
    threads: int  # of each part
    options: EncodeOptions
    n_done: int = 0
    given_up: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def parts(self, bounds: Sequence[int], out_path: str) -> None:
        """Encode parts side by side and join them."""
        folder, name = os.path.split(out_path)
        # Beside the output, and named so that what a killed process leaves behind is recognised.
        paths = [os.path.join(folder, f"part{k}-{name}") for k in range(len(bounds) - 1)]
        try:
            with ThreadPoolExecutor(len(paths), "raypose-draw") as pool, self._giving_up():
                ends = zip(pairwise(bounds), paths, strict=True)
                jobs = [pool.submit(self.part, *part, path) for part, path in ends]
                wait(jobs)
            errors = [error for job in jobs if (error := job.exception()) is not None]
            if errors:
                # The error that made the other parts give up.
                raise min(errors, key=lambda error: isinstance(error, CancelledError))
            begins = [int(self.index.pts[k] - self.index.pts[bounds[0]]) for k in bounds[:-1]]
            join_parts(paths, begins, out_path, self.like)
        finally:
            for path in paths:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    def part(self, first: int, stop: int, out_path: str) -> None:
        """Encode the frames of one part."""
        # One thread does all. With more, the encoder has most of the work, and one thread decodes
        # ahead; the caller's sleeps until the encoder takes a frame.
        index, threads = self.index, self.threads
        decode = max(1, threads // 4)
        encode = max(threads - decode, min(threads, 2))
        n_told = first
        render = self.new_renderer()
        decoded = iter_frames(index, first, stop, threads=decode)
        with (
            self._giving_up(),
            read_ahead(decoded, _AHEAD if threads > 1 else 0) as frames,
            VideoWriter(out_path, self.like, self.settings, threads=encode) as writer,
        ):
            for n, frame, _ in frames:
                if n == first and n > self.start and frame is None:
                    frame = _picture_before(index, n)
                writer.write(render(n, frame), int(index.pts[n] - index.pts[first]))
                if (n + 1 - first) % _CHECK_EVERY == 0 or n + 1 == stop:
                    self._tell(n + 1 - n_told)
                    n_told = n + 1

    def _tell(self, n_frames: int) -> None:
        """Another `n_frames` are written; raises where the run was stopped or a part failed."""
        with self.lock:
            self.n_done += n_frames
            should_stop = self.options.get("should_stop")
            if self.given_up or (should_stop is not None and should_stop()):
                raise CancelledError("stopped while encoding a video", path=self.index.path)
            if on_progress := self.options.get("on_progress"):
                on_progress(self.n_done)

    @contextlib.contextmanager
    def _giving_up(self) -> Iterator[None]:
        """Stop the other parts where this one fails."""
        try:
            yield
        except BaseException:
            self.given_up = True
            raise


def _picture_before(index: VideoIndex, n: int) -> Any | None:
    """The last picture before a frame, with which a part begins whose first frame is missing."""
    keyframe = int(index.keyframes[index.keyframes < n][-1])
    frame = None
    for _, earlier, _ in iter_frames(index, keyframe, n):
        frame = frame if earlier is None else earlier
    return frame
