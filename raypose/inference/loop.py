"""Whole videos through one or several models: one decode feeds all of them.

Last station of inference: a video and predictors that are loaded → one table of keypoints a
member. Frames are decoded ahead in a thread, images are made once for all members that take
the same ones, and a frame that is corrupt or missing keeps its row, with NaN and likelihood 0.
What becomes of the tables (files, metrics, smoothing) is not known here.
"""

from __future__ import annotations

import collections
import contextlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raypose.errors import CancelledError, Failure, RayposeError, VideoError
from raypose.inference.views import Views

if TYPE_CHECKING:
    import torch

    from raypose.inference.batches import Lanes
    from raypose.inference.predictor import Predictor
    from raypose.inference.windows import Windows
    from raypose.video.frames import Frames, Statuses
    from raypose.video.index import VideoIndex
    from raypose.video.reader import ReaderThreads

# What may go wrong with one member while the others go on.
_MEMBER_ERRORS = (RayposeError, RuntimeError, ValueError, TypeError, MemoryError)
# Batches on a GPU that may be under way; more would only hold memory.
_GPU_BATCHES_AHEAD = 3


@dataclass(frozen=True, slots=True)
class MemberResult:
    """What one model says of a range of frames of a video (or of one view of a recording).

    Attributes:
        values: (n_frames, n_keypoints, 3) float32: x and y in pixels of the frame, likelihood;
            NaN, NaN, 0 where the frame is corrupt or missing.
        frames: time and status of each frame.
        decode_s: seconds that inference waited for frames.
        network_s: seconds in resizing and network, summed over the cores that shared the work;
            on a GPU, the time to hand it over.
        subpixel_s: seconds from heatmaps to keypoints, likewise.
        not_nvdec: why frames were decoded on the CPU though NVDEC was asked for.
    """

    values: NDArray[np.float32]
    frames: Frames
    decode_s: float
    network_s: float
    subpixel_s: float
    not_nvdec: str = ""

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


def predict_video(
    video: str | os.PathLike[str] | VideoIndex,
    predictors: Sequence[Predictor],
    *,
    start: int = 0,
    stop: int | None = None,
    batch_size: int | None = None,
    boxes: NDArray[np.float64] | None = None,
    decoder: str = "cpu",
    reader_threads: ReaderThreads | None = None,
    compute_threads: int | None = None,
    on_progress: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[MemberResult | Failure]:
    """Predict a range of frames with every predictor, decoding them once.

    Args:
        video: a file, or its index (which saves reading the packets again). Models that take
            several views at once need `predict_views`.
        predictors: the members.
        start: first frame.
        stop: frame after the last; None for the end.
        batch_size: frames a batch; by default the smallest that a predictor chose.
        boxes: (frames of the video, 4) x, y, height, width of what the networks look at, in
            pixels; keypoints are of the whole frame all the same. The last row stands for
            frames that have none.
        decoder: `cpu`, or `nvdec` to decode on the GPU that the first predictor is on.
        reader_threads: threads that read the video; by default one, ahead of the network.
        compute_threads: threads that run networks on the CPU; by default as many as torch's.
        on_progress: told how many frames are done.
        should_stop: asked before every batch.

    Returns:
        One result a predictor, in order; a `Failure` in place of one that could not go on while
        the others did.

    Raises:
        VideoError: the video can't be read; no member has a result then.
        CancelledError: `should_stop` said so.
    """
    results = predict_views(
        [video],
        predictors,
        start=start,
        stop=stop,
        batch_size=batch_size,
        boxes=None if boxes is None else [boxes],
        decoder=decoder,
        reader_threads=reader_threads,
        compute_threads=compute_threads,
        on_progress=on_progress,
        should_stop=should_stop,
    )
    return [result if isinstance(result, Failure) else result[0] for result in results]


def predict_views(
    videos: Sequence[str | os.PathLike[str] | VideoIndex],
    predictors: Sequence[Predictor],
    *,
    start: int = 0,
    stop: int | None = None,
    batch_size: int | None = None,
    boxes: Sequence[NDArray[np.float64]] | None = None,
    decoder: str = "cpu",
    reader_threads: ReaderThreads | None = None,
    compute_threads: int | None = None,
    on_progress: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[list[MemberResult] | Failure]:
    """Predict the views of a recording in lockstep with every predictor, decoding them once.

    Args:
        videos: a file or index for each view that the models take, in their order; of equally
            many frames.
        predictors: the members.
        start: first frame.
        stop: frame after the last; None for the end.
        batch_size: frames a batch (of each view); by default the smallest that a predictor chose.
        boxes: for each view as in `predict_video`.
        decoder: as in `predict_video`.
        reader_threads: for each view as in `predict_video`.
        compute_threads: as in `predict_video`.
        on_progress: told how many frames are done.
        should_stop: asked before every batch.

    Returns:
        For each predictor, in order, one result a view; or a `Failure` where it could not go on
        while others did. A frame that one view lacks is missing in that view alone: the network
        sees the view's last frame in its place.

    Raises:
        VideoError: a video can't be read, or views differ in length; no member has a result then.
        CancelledError: `should_stop` said so.
    """
    from raypose.inference.batches import Lanes
    from raypose.inference.windows import Windows
    from raypose.video.index import VideoIndex, index_video

    indexes = [v if isinstance(v, VideoIndex) else index_video(v) for v in videos]
    for index in indexes[1:]:
        if index.n_frames != indexes[0].n_frames:
            raise VideoError(
                f"this view has {index.n_frames} frames, and another {indexes[0].n_frames}",
                path=index.path,
                hint="Views of one recording must have equally many frames.",
            )
    members = [
        _Member(predictor, Windows() if predictor.network.heads else None)
        for predictor in predictors
    ]
    on_gpu = any(p.network.device.type == "cuda" for p in predictors)
    with Lanes(on_gpu=on_gpu, n=compute_threads) as lanes:
        end = indexes[0].n_frames if stop is None else stop
        run = _Run(indexes, members, lanes, start, end, boxes, decoder, on_progress, should_stop)
        size = batch_size or min((p.batch_size for p in predictors), default=1)
        run.go(size, reader_threads)
    return [run.results(member) for member in members]


class _Run:
    """One pass of members through a range of a video, or of views in lockstep."""

    def __init__(
        self,
        indexes: Sequence[VideoIndex],
        members: Sequence[_Member],
        lanes: Lanes,
        start: int,
        stop: int,
        boxes: Sequence[NDArray[np.float64]] | None,
        decoder: str,
        on_progress: Callable[[int], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        import torch

        from raypose.inference.nvdec import why_not
        from raypose.inference.windows import frames_to_read

        self.indexes = indexes
        self.n_frames = indexes[0].n_frames
        self.members = members
        self.lanes = lanes
        self.start, self.stop = start, stop
        self.first, self.last = start, stop
        self.has_context = any(member.windows for member in members)
        if self.has_context and start < stop:
            self.first, self.last = frames_to_read(start, stop, self.n_frames)
        self.boxes = self._boxes_of_frames(boxes)
        # A frame that is not there stands in the way of its neighbours, or of the other views.
        self.fills_gaps = self.has_context or len(indexes) > 1
        self.on_progress = on_progress
        self.should_stop = should_stop
        self.statuses: list[list[Statuses]] = [[] for _ in indexes]
        self.decode_s = 0.0
        self.n_done = 0
        self.device = members[0].predictor.network.device if members else torch.device("cpu")
        self.not_nvdec = ""
        if decoder == "nvdec":
            self.not_nvdec = next(filter(None, (why_not(i, self.device) for i in indexes)), "")
        self.decoder = "cpu" if self.not_nvdec else decoder

    def go(self, batch_size: int, threads: ReaderThreads | None) -> None:
        """Send all frames through."""
        from raypose.inference.nvdec import open_reader
        from raypose.video.frames import without_picture

        throttle = _Throttle([member.predictor for member in self.members])
        under_way: collections.deque[tuple[int, Future[list[_Part | Failure]]]]
        under_way = collections.deque()
        held: list[Any] = [None] * len(self.indexes)
        with contextlib.ExitStack() as stack:
            readers = [
                stack.enter_context(
                    open_reader(
                        index,
                        self.decoder,
                        self.device,
                        start=self.first,
                        stop=self.last,
                        batch_size=batch_size,
                        threads=threads,
                    )
                )
                for index in self.indexes
            ]
            batches = zip(*readers, strict=True)
            while True:
                if self.should_stop is not None and self.should_stop():
                    raise CancelledError("the run was stopped")
                begun = time.perf_counter()
                views = next(batches, None)
                self.decode_s += time.perf_counter() - begun
                if views is None:
                    break
                for v, batch in enumerate(views):
                    self.statuses[v].append(batch.statuses)
                    if self.fills_gaps:
                        lost = without_picture(batch.statuses)
                        held[v] = _fill_gaps(batch.frames, ~lost, held[v])
                frames = [batch.frames for batch in views]
                under_way.append((len(frames[0]), self._submit(views[0].first, frames)))
                throttle.wait()
                if len(under_way) > self.lanes.n:
                    self._collect(*under_way.popleft())
            while under_way:
                self._collect(*under_way.popleft())
        for member in self.members:
            self._finish(member)

    def _submit(
        self, first: int, pixels: Sequence[NDArray[np.uint8] | torch.Tensor]
    ) -> Future[list[_Part | Failure]]:
        import torch

        boxes = None
        if self.boxes is not None:
            rows = slice(first - self.first, first - self.first + len(pixels[0]))
            boxes = tuple(view[rows] for view in self.boxes)
        views = Views(tuple(torch.as_tensor(view) for view in pixels), boxes)
        going_on = [member.failure is None for member in self.members]
        predictors = [member.predictor for member in self.members]
        return self.lanes.submit(lambda: _predict_batch(views, predictors, going_on))

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
            at = done + (2 if self.n_frames > 4 else 0)
            boxes = tuple(view[at : at + n] for view in self.boxes)
        sizes = tuple((index.height, index.width) for index in self.indexes)
        try:
            rows = member.predictor.infer_windows(features, sizes, boxes)
        except _MEMBER_ERRORS as error:
            member.failure = Failure.of("predict", error)
            member.rows.clear()
            return
        member.rows.append(rows)
        member.subpixel_s += time.perf_counter() - begun

    def _boxes_of_frames(
        self, boxes: Sequence[NDArray[np.float64]] | None
    ) -> tuple[NDArray[np.int64], ...] | None:
        """Boxes within the frames, for each view one a frame that is read."""
        if boxes is None:
            return None
        from raypose.inference.preprocess import clamp_boxes

        frames = np.arange(self.first, self.last)
        return tuple(
            clamp_boxes(np.asarray(rows)[np.minimum(frames, len(rows) - 1)], i.height, i.width)
            for rows, i in zip(boxes, self.indexes, strict=True)
        )

    def results(self, member: _Member) -> list[MemberResult] | Failure:
        """The rows that were asked for, of each view."""
        import torch

        from raypose.inference.windows import with_edges

        if member.failure is not None:
            return member.failure
        n_keypoints = len(self.indexes) * len(member.predictor.spec.keypoint_names)
        rows = torch.cat(member.rows) if member.rows else torch.empty(0, n_keypoints, 3)
        if member.windows is not None and len(rows):
            rows = with_edges(rows, self.n_frames)
        begin = self.start - self.first
        wanted = slice(begin, begin + self.stop - self.start)
        kept = rows[wanted].to("cpu", torch.float32)
        failure = self._not_finite(member.predictor, kept.numpy())
        if failure is not None:
            return failure
        views = kept.chunk(len(self.indexes), dim=1)
        return [self._result(member, view, wanted, v) for v, view in enumerate(views)]

    def _not_finite(self, predictor: Predictor, rows: NDArray[np.float32]) -> Failure | None:
        """What is wrong with rows of which some are no numbers, which no table may show as empty.

        Frames that can't be decoded have their empty fields from elsewhere.
        """
        broken = ~np.isfinite(rows).all(axis=2)
        if not broken.any():
            return None
        n_frames = len(set(np.nonzero(broken)[0]))
        frame, column = (int(i) for i in np.argwhere(broken)[0])
        names = predictor.spec.keypoint_names
        precision = str(predictor.network.dtype).removeprefix("torch.")
        error = VideoError(
            f"the model {predictor.spec.name} gives values that are not finite for "
            f"{n_frames} frames, first for {names[column % len(names)]} in frame "
            f"{self.start + frame} (computed in {precision})",
            path=self.indexes[column // len(names)].path,
            hint="Run it with --precision fp32."
            if precision != "float32"
            else "Use another checkpoint of this model: its numbers overflow on this video.",
        )
        return Failure.of("predict", error)

    def _result(
        self, member: _Member, rows: torch.Tensor, wanted: slice, view: int
    ) -> MemberResult:
        from raypose.video.frames import Frames, without_picture

        # A copy: what comes of inference mode may share memory with what is not asked for.
        values = np.array(rows.numpy())
        statuses = np.concatenate([np.zeros(0, np.int8), *self.statuses[view]])[wanted]
        values[without_picture(statuses)] = (np.nan, np.nan, 0.0)
        times_s = self.indexes[view].times_s[self.start : self.stop]
        return MemberResult(
            values,
            Frames(times_s, statuses),
            self.decode_s,
            member.network_s,
            member.subpixel_s,
            self.not_nvdec,
        )


def _predict_batch(
    views: Views, predictors: Sequence[Predictor], going_on: Sequence[bool]
) -> list[_Part | Failure]:
    """Every predictor's part of a batch; images are made once for all that take the same."""
    shared: dict[Any, torch.Tensor] = {}
    parts: list[_Part | Failure] = []
    for predictor, goes_on in zip(predictors, going_on, strict=True):
        if not goes_on:
            parts.append(Failure("predict", "it failed before"))
            continue
        try:
            parts.append(_predict_part(views, predictor, shared))
        except _MEMBER_ERRORS as error:
            parts.append(Failure.of("predict", error))
    return parts


def _predict_part(views: Views, predictor: Predictor, shared: dict[Any, torch.Tensor]) -> _Part:
    begun = time.perf_counter()

    def images() -> torch.Tensor:
        key = predictor.input_key
        if key not in shared:
            shared[key] = predictor.prepare(views)
        return shared[key]

    outputs = predictor.forward_at_once(views, images)
    if outputs is None:
        shared.clear()
        if predictor.most_frames is None or predictor.most_frames >= len(views):
            predictor.note_too_many(len(views))
        outputs = predictor.forward(views)
    forwarded = time.perf_counter()
    if predictor.network.heads is None:
        outputs = predictor.locate(outputs, views.sizes, views.boxes)
    return _Part(outputs, forwarded - begun, time.perf_counter() - forwarded)


def _fill_gaps(frames: Any, ok: NDArray[np.bool_], held: Any) -> Any:
    """Put the last usable frame in the place of each that is not; return the last of all.

    Its own row says that it is missing; its neighbours, whose windows it is in, should see
    something like it, not a black or a broken frame. At the beginning the next usable one serves.
    Frames are an array, or a tensor on a GPU.
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
    return frames[good[-1:]][0] if len(good) else held  # a copy, since the index is an array


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
