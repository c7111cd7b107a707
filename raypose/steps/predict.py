"""Predictions of a range of frames by some models, which share one decode."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from raypose.errors import Failure
from raypose.specs import ModelSpec
from raypose.steps.base import Outcome, Step
from raypose.steps.frame_files import COUNTS, refuse_damage
from raypose.steps.provenance import bbox_as_planned, videos_read
from raypose.steps.ranges import write_range
from raypose.storage import as_path
from raypose.storage.origins import VideoRead
from raypose.storage.provenance import Provenance, as_done
from raypose.video.frames import Frames, count
from raypose.worker.context import Context

if TYPE_CHECKING:
    from raypose.inference.predictor import Predictor


@dataclass(frozen=True, slots=True)
class Predicted:
    """The keypoints of a range of frames, between `predict` and `table`.

    Attributes:
        values: shape (n_frames, n_keypoints, 3): x and y in pixels of the frame, likelihood.
        frames: time and status of each; NaN and likelihood 0 where corrupt or missing.
        provenance: what they were made from, with the settings that were used.
    """

    values: Any
    frames: Frames
    provenance: Mapping[str, Any] = field(default_factory=dict)
    videos: tuple[VideoRead, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Predict(Step):
    """Predict a range of frames; one result for each video of each member, a member's together.

    Attributes:
        start, stop: the first frame, and the one after the last.
        provenances: what the results are made from, in their order.
        range_dirs: where the finished range is kept, in the same order; empty for a whole video.
        bboxes: file with the bounding boxes of each video; empty for the whole frame.
        precision: resolved on the worker from its device where `auto`.
        batch_size: frames per batch; chosen by the worker where None.
        strict: whether a frame that is not ok fails the video.
    """

    name = "predict"
    title = "predictions"
    gpu = True
    reads_frames = True
    frame_cost = 1.0

    members: tuple[ModelSpec, ...]
    start: int
    stop: int
    provenances: tuple[Provenance, ...]
    range_dirs: tuple[str, ...] = ()
    bboxes: tuple[str, ...] = ()
    precision: str = "auto"
    decoder: str = "cpu"
    batch_size: int | None = None
    strict: bool = False

    @property
    def models(self) -> tuple[ModelSpec, ...]:
        return self.members

    def run(self, inputs: Sequence[Any], context: Context) -> Outcome:
        from raypose.inference.loop import predict_views

        n_loaded_before = context.n_loaded
        loaded = [self._predictor(model, context) for model in self.members]
        predictors = [predictor for predictor in loaded if not isinstance(predictor, Failure)]
        if not predictors:
            failures = [value for value in loaded if isinstance(value, Failure)]
            return Outcome([failure for failure in failures for _ in self.videos])
        indexes = [context.index(video) for video in self.videos]
        for video in self.videos if self.start == 0 else ():
            context.video_check.hash_along(video)
        began = time.perf_counter()
        members = predict_views(
            indexes,
            predictors,
            start=self.start,
            stop=self.stop,
            batch_size=self.batch_size,
            decoder=self.decoder,
            bboxes=bbox_as_planned(self.bboxes, self.provenances) if any(self.bboxes) else None,
            reader_threads=context.budget.reader,
            compute_threads=context.budget.compute,
            on_progress=context.report,
            should_stop=context.should_stop,
        )
        took_s = time.perf_counter() - began
        outcome = Outcome([])
        read = videos_read(self.videos, members, context.video_check, whole=self.start == 0)
        remaining = iter(members)
        for i, predictor in enumerate(loaded):
            member = predictor if isinstance(predictor, Failure) else next(remaining)
            if isinstance(member, Failure):
                outcome.results += [member] * len(self.videos)
                continue
            assert not isinstance(predictor, Failure)
            outcome.results += self._results(i, member, predictor, read)
            if member[0].fallback_reason:
                outcome.warnings = [f"decoded on the CPU: {member[0].fallback_reason}"]
            outcome.stats = {
                "n_frames": len(member[0].values),
                COUNTS: count(np.concatenate([view.frames.statuses for view in member])),
                "n_loaded": context.n_loaded - n_loaded_before,
                "device": str(predictors[0].network.device),
                "precisions": sorted({p.precision for p in predictors}),
                "predict_s": took_s,
                **member[0].seconds,
            }
        return outcome

    def _predictor(self, model: ModelSpec, context: Context) -> Predictor | Failure:
        try:
            return context.predictor(model, self.precision)
        except Exception as error:  # a model that can't be loaded does not stop the others
            return Failure.of(self.name, error)

    def _results(
        self, member: int, views: Sequence[Any], predictor: Predictor, read: tuple[VideoRead, ...]
    ) -> list[Predicted]:
        """The results of one member; the ranges of a video that is split are kept on disk."""
        results = []
        for v, (video, view) in enumerate(zip(self.videos, views, strict=True)):
            if self.strict:
                refuse_damage(view.frames, video.path)
            output = member * len(self.videos) + v
            provenance = as_done(
                self.provenances[output],
                precision=predictor.precision,
                decoder="cpu" if view.fallback_reason else self.decoder,
            )
            if self.range_dirs and self.range_dirs[output]:
                write_range(
                    as_path(self.range_dirs[output]),
                    self.start,
                    view.values,
                    provenance,
                    frames=view.frames,
                    source=video.path,
                    videos=read,
                )
            results.append(Predicted(view.values, view.frames, provenance, read))
        return results
