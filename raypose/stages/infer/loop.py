"""Whole videos through one or several models: one decode feeds all of them.

Last station of inference: a video and predictors that are loaded → one table of keypoints a
member. Frames are decoded ahead in a thread, images are made once for all members that take
the same ones, and a frame that can't be decoded keeps its row, with NaN and likelihood 0. What
becomes of the tables (files, metrics, smoothing) is not known here.
"""

from __future__ import annotations

import collections
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raypose.errors import CancelledError, Failure, RayposeError

if TYPE_CHECKING:
    import torch

    from raypose.stages.infer.lanes import Lanes
    from raypose.stages.infer.predictor import Predictor
    from raypose.stages.infer.windows import Windows
    from raypose.video.index import VideoIndex

# What may go wrong with one member while the others go on.
_MEMBER_ERRORS = (RayposeError, RuntimeError, ValueError, TypeError, MemoryError)
# Batches on a GPU that may be under way; more would only hold memory.
_GPU_BATCHES_AHEAD = 3


@dataclass(frozen=True, slots=True)
class MemberResult:
    """What one model says of a range of frames of a video.

    Attributes:
        values: (n_frames, n_keypoints, 3) float32: x and y in pixels of the frame, likelihood;
            NaN, NaN, 0 where the frame can't be decoded.
        n_undecodable: frames that can't be decoded.
        decode_s: seconds that inference waited for frames.
        network_s: seconds in resizing and network, summed over the cores that shared the work;
            on a GPU, the time to hand it over.
        subpixel_s: seconds from heatmaps to keypoints, likewise.
    """

    values: NDArray[np.float32]
    n_undecodable: int
    decode_s: float
    network_s: float
    subpixel_s: float

    @property
    def seconds(self) -> dict[str, float]:
        """Where the time went, by name."""
        return {
            "decode_s": self.decode_s,
            "network_s": self.network_s,
            "subpixel_s": self.subpixel_s,
        }


@dataclass(slots=True)
class _Part:
    """What a predictor gave for a batch: rows, or features where frames need their neighbours."""

    outputs: torch.Tensor
    network_s: float
    subpixel_s: float


@dataclass(slots=True)
class _Member:
    """A predictor on its way through a video."""

    predictor: Predictor
    windows: Windows | None
    rows: list[torch.Tensor] = field(default_factory=list)
    network_s: float = 0.0
    subpixel_s: float = 0.0
    failure: Failure | None = None


@dataclass(slots=True)
class _Frames:
    """Decoded frames, and what is looked at in them."""

    pixels: torch.Tensor
    boxes: NDArray[np.int64] | None

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[1], self.pixels.shape[2]


def predict_video(
    video: str | os.PathLike[str] | VideoIndex,
    predictors: Sequence[Predictor],
    *,
    start: int = 0,
    stop: int | None = None,
    batch_size: int | None = None,
    boxes: NDArray[np.float64] | None = None,
    on_progress: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[MemberResult | Failure]:
    """Predict a range of frames with every predictor, decoding them once.

    Args:
        video: a file, or its index (which saves reading the packets again).
        predictors: the members.
        start: first frame.
        stop: frame after the last; None for the end.
        batch_size: frames a batch; by default the smallest that a predictor chose.
        boxes: (frames of the video, 4) x, y, height, width of what the networks look at, in
            pixels; keypoints are of the whole frame all the same. The last row stands for
            frames that have none.
        on_progress: told how many frames are done.
        should_stop: asked before every batch.

    Returns:
        One result a predictor, in order; a `Failure` in place of one that could not go on while
        the others did.

    Raises:
        VideoError: the video can't be read; no member has a result then.
        CancelledError: `should_stop` said so.
    """
    from raypose.stages.infer.lanes import Lanes
    from raypose.stages.infer.windows import Windows
    from raypose.video.index import VideoIndex, index_video

    index = video if isinstance(video, VideoIndex) else index_video(video)
    stop = index.n_frames if stop is None else stop
    members = [
        _Member(predictor, Windows() if predictor.network.heads else None)
        for predictor in predictors
    ]
    on_gpu = any(p.network.device.type == "cuda" for p in predictors)
    with Lanes(on_gpu=on_gpu) as lanes:
        run = _Run(index, members, lanes, start, stop, boxes, on_progress, should_stop)
        run.go(batch_size or min((p.batch_size for p in predictors), default=1))
    return [run.result(member) for member in members]


class _Run:
    """One pass of members through a range of a video."""

    def __init__(
        self,
        index: VideoIndex,
        members: Sequence[_Member],
        lanes: Lanes,
        start: int,
        stop: int,
        boxes: NDArray[np.float64] | None,
        on_progress: Callable[[int], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        from raypose.stages.infer.windows import frames_to_read

        self.index = index
        self.members = members
        self.lanes = lanes
        self.start, self.stop = start, stop
        self.first, self.last = start, stop
        self.has_context = any(member.windows for member in members)
        if self.has_context and start < stop:
            self.first, self.last = frames_to_read(start, stop, index.n_frames)
        self.boxes = self._boxes_of_frames(boxes)
        self.on_progress = on_progress
        self.should_stop = should_stop
        self.lost: list[NDArray[np.bool_]] = []
        self.decode_s = 0.0
        self.n_done = 0

    def go(self, batch_size: int) -> None:
        """Send all frames through."""
        from raypose.video.reader import FrameReader

        throttle = _Throttle([member.predictor for member in self.members])
        under_way: collections.deque[tuple[int, Future[list[_Part | Failure]]]]
        under_way = collections.deque()
        held: NDArray[np.uint8] | None = None
        with FrameReader(
            self.index, start=self.first, stop=self.last, batch_size=batch_size
        ) as reader:
            batches = iter(reader)
            while True:
                if self.should_stop is not None and self.should_stop():
                    raise CancelledError("the run was stopped")
                begun = time.perf_counter()
                batch = next(batches, None)
                self.decode_s += time.perf_counter() - begun
                if batch is None:
                    break
                self.lost.append(~batch.ok)
                if self.has_context:
                    held = _fill_gaps(batch.frames, batch.ok, held)
                under_way.append((len(batch), self._submit(batch.first, batch.frames)))
                throttle.wait()
                if len(under_way) > self.lanes.n:
                    self._collect(*under_way.popleft())
            while under_way:
                self._collect(*under_way.popleft())
        for member in self.members:
            self._finish(member)

    def _submit(self, first: int, pixels: NDArray[np.uint8]) -> Future[list[_Part | Failure]]:
        import torch

        boxes = None
        if self.boxes is not None:
            boxes = self.boxes[first - self.first : first - self.first + len(pixels)]
        frames = _Frames(torch.from_numpy(pixels), boxes)
        going_on = [member.failure is None for member in self.members]
        predictors = [member.predictor for member in self.members]
        return self.lanes.submit(lambda: _predict_batch(frames, predictors, going_on))

    def _collect(self, n_frames: int, future: Future[list[_Part | Failure]]) -> None:
        """Hand the results of a batch to the members, in the order of the frames."""
        for member, part in zip(self.members, future.result(), strict=True):
            if member.failure is not None:
                continue
            if isinstance(part, Failure):
                member.failure = part
                member.rows.clear()
                continue
            member.network_s += part.network_s
            member.subpixel_s += part.subpixel_s
            if member.windows is None:
                member.rows.append(part.outputs)
            else:
                self._predict_windows(member, member.windows.push(part.outputs))
        self.n_done += n_frames
        if self.on_progress is not None:
            self.on_progress(min(self.n_done, self.stop - self.start))

    def _finish(self, member: _Member) -> None:
        if member.windows is not None and member.failure is None:
            self._predict_windows(member, member.windows.padded())

    def _predict_windows(self, member: _Member, features: torch.Tensor | None) -> None:
        if features is None:
            return
        begun = time.perf_counter()
        done = sum(len(rows) for rows in member.rows)
        n = len(features) - 4
        boxes = None
        if self.boxes is not None:
            at = done + (2 if self.index.n_frames > 4 else 0)
            boxes = self.boxes[at : at + n]
        try:
            rows = member.predictor.infer_windows(
                features, self.index.height, self.index.width, boxes
            )
        except _MEMBER_ERRORS as error:
            member.failure = Failure.of("predict", error)
            member.rows.clear()
            return
        member.rows.append(rows)
        member.subpixel_s += time.perf_counter() - begun

    def _boxes_of_frames(self, boxes: NDArray[np.float64] | None) -> NDArray[np.int64] | None:
        """Boxes within the frame, one a frame that is read."""
        if boxes is None:
            return None
        from raypose.stages.infer.preprocess import clamp_boxes

        rows = np.minimum(np.arange(self.first, self.last), len(boxes) - 1)
        return clamp_boxes(np.asarray(boxes)[rows], self.index.height, self.index.width)

    def result(self, member: _Member) -> MemberResult | Failure:
        """The rows that were asked for."""
        import torch

        from raypose.stages.infer.windows import with_edges

        if member.failure is not None:
            return member.failure
        n_keypoints = len(member.predictor.spec.keypoint_names)
        rows = torch.cat(member.rows) if member.rows else torch.empty(0, n_keypoints, 3)
        if member.windows is not None and len(rows):
            rows = with_edges(rows, self.index.n_frames)
        begin = self.start - self.first
        wanted = slice(begin, begin + self.stop - self.start)
        # A copy: what comes of inference mode may share memory with what is not asked for.
        values = np.array(rows[wanted].to("cpu", torch.float32).numpy())
        lost = np.concatenate(self.lost)[wanted] if self.lost else np.zeros(0, np.bool_)
        values[lost] = (np.nan, np.nan, 0.0)
        return MemberResult(
            values, int(lost.sum()), self.decode_s, member.network_s, member.subpixel_s
        )


def _predict_batch(
    frames: _Frames, predictors: Sequence[Predictor], going_on: Sequence[bool]
) -> list[_Part | Failure]:
    """Every predictor's part of a batch; images are made once for all that take the same."""
    shared: dict[Any, torch.Tensor] = {}
    parts: list[_Part | Failure] = []
    for predictor, goes_on in zip(predictors, going_on, strict=True):
        if not goes_on:
            parts.append(Failure("predict", "it failed before"))
            continue
        try:
            parts.append(_predict_part(frames, predictor, shared))
        except _MEMBER_ERRORS as error:
            parts.append(Failure.of("predict", error))
    return parts


def _predict_part(frames: _Frames, predictor: Predictor, shared: dict[Any, torch.Tensor]) -> _Part:
    import torch

    height, width = frames.size
    begun = time.perf_counter()
    try:
        images = shared.get(predictor.input_key)
        if images is None:
            images = predictor.prepare(frames.pixels, frames.boxes)
            shared[predictor.input_key] = images
        with torch.inference_mode():
            outputs = predictor.network.forward(images)
    except torch.cuda.OutOfMemoryError:
        shared.clear()
        predictor.halve_batch_size(len(frames.pixels))
        outputs = predictor.forward(frames.pixels, frames.boxes)
    forwarded = time.perf_counter()
    if predictor.network.heads is None:
        outputs = predictor.locate(outputs, height, width, frames.boxes)
    return _Part(outputs, forwarded - begun, time.perf_counter() - forwarded)


def _fill_gaps(
    frames: NDArray[np.uint8], ok: NDArray[np.bool_], held: NDArray[np.uint8] | None
) -> NDArray[np.uint8] | None:
    """Put the last decodable frame in the place of each that is not; return the last of all.

    Its own row says that it is missing; its neighbours, whose windows it is in, should see
    something like it, not a black frame. At the beginning the next decodable frame serves.
    """
    good = np.flatnonzero(ok)
    for i in np.flatnonzero(~ok):
        before = good[good < i]
        if len(before):
            frames[i] = frames[before[-1]]
        elif held is not None:
            frames[i] = held
        elif len(good):
            frames[i] = frames[good[0]]
    return frames[good[-1]].copy() if len(good) else held


class _Throttle:
    """Keeps the CPU from running far ahead of a GPU, without emptying the GPU's queue."""

    def __init__(self, predictors: Sequence[Predictor]) -> None:
        devices = {p.network.device for p in predictors if p.network.device.type == "cuda"}
        self._devices = list(devices)
        self._under_way: collections.deque[list[Any]] = collections.deque()

    def wait(self) -> None:
        """Note the end of a batch; return when at most a few batches are under way."""
        if not self._devices:
            return
        import torch

        cuda: Any = torch.cuda  # not typed
        events = []
        for device in self._devices:
            event = cuda.Event()
            event.record(cuda.current_stream(device))
            events.append(event)
        self._under_way.append(events)
        if len(self._under_way) > _GPU_BATCHES_AHEAD:
            for event in self._under_way.popleft():
                event.synchronize()
