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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raypose.errors import CancelledError, Failure, RayposeError

if TYPE_CHECKING:
    import torch

    from raypose.stages.infer.predictor import Predictor
    from raypose.video.index import VideoIndex
    from raypose.video.reader import Batch

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
        network_s: seconds in the network; on a GPU, the time to hand over work.
        subpixel_s: seconds from heatmaps to keypoints; on a GPU, likewise.
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
class _Member:
    """A predictor on its way through a video."""

    predictor: Predictor
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
        on_progress: told how many frames are done.
        should_stop: asked before every batch.

    Returns:
        One result a predictor, in order; a `Failure` in place of one that could not go on while
        the others did.

    Raises:
        VideoError: the video can't be read; no member has a result then.
        CancelledError: `should_stop` said so.
    """
    from raypose.video.reader import FrameReader

    members = [_Member(predictor) for predictor in predictors]
    size = batch_size or min((p.batch_size for p in predictors), default=1)
    undecodable: list[NDArray[np.bool_]] = []
    decode_s, done = 0.0, 0
    with FrameReader(video, start=start, stop=stop, batch_size=size) as reader:
        throttle = _Throttle(predictors)
        batches = iter(reader)
        while True:
            if should_stop is not None and should_stop():
                raise CancelledError("the run was stopped")
            begun = time.perf_counter()
            batch = next(batches, None)
            decode_s += time.perf_counter() - begun
            if batch is None:
                break
            _predict_batch(batch, members)
            undecodable.append(~batch.ok)
            throttle.wait()
            done += len(batch)
            if on_progress is not None:
                on_progress(done)
    lost = np.concatenate(undecodable) if undecodable else np.zeros(0, np.bool_)
    return [_result(member, lost, decode_s) for member in members]


def _predict_batch(batch: Batch, members: Sequence[_Member]) -> None:
    """Append the rows of a batch to every member that still goes on."""
    import torch

    frames = torch.from_numpy(batch.frames)
    height, width = frames.shape[1:3]
    shared: dict[Any, torch.Tensor] = {}
    for member in members:
        if member.failure is not None:
            continue
        predictor = member.predictor
        begun = time.perf_counter()
        try:
            images = shared.get(predictor.input_key)
            if images is None:
                images = shared[predictor.input_key] = predictor.prepare(frames)
            with torch.inference_mode():
                outputs = predictor.network.forward(images)
                forwarded = time.perf_counter()
                member.rows.append(predictor.locate(outputs, height, width))
            member.network_s += forwarded - begun
            member.subpixel_s += time.perf_counter() - forwarded
        except torch.cuda.OutOfMemoryError:
            _again_in_smaller_batches(member, frames)
        except (RayposeError, RuntimeError, ValueError, MemoryError) as error:
            member.failure = Failure.of("predict", error)
            member.rows.clear()


def _again_in_smaller_batches(member: _Member, frames: torch.Tensor) -> None:
    try:
        member.predictor.halve_batch_size(len(frames))
        member.rows.append(member.predictor.predict(frames))
    except RayposeError as error:
        member.failure = Failure.of("predict", error)
        member.rows.clear()


def _result(member: _Member, lost: NDArray[np.bool_], decode_s: float) -> MemberResult | Failure:
    import torch

    if member.failure is not None:
        return member.failure
    n_keypoints = len(member.predictor.spec.keypoint_names)
    rows = member.rows or [torch.empty(0, n_keypoints, 3)]
    values = torch.cat(rows).to("cpu", torch.float32).numpy()
    values[lost] = (np.nan, np.nan, 0.0)
    return MemberResult(values, int(lost.sum()), decode_s, member.network_s, member.subpixel_s)


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
