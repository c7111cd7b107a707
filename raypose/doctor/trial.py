"""Checks of a model and a video, and the trial: how fast a run will be, and what limits it.

The trial takes about ten seconds after the network is loaded: decoding alone, the network alone on
frames in memory, and then both as a run does them, in one process that has this machine (or its
first GPU) to itself.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypose.doctor.findings import Asked, Finding
from raypose.errors import CancelledError, Failure, VideoError
from raypose.storage import as_path, local_path, scratch
from raypose.storage.trials import Trial, remember_trial

if TYPE_CHECKING:
    from raypose.inference.predictor import Predictor
    from raypose.inference.preprocess import FrameBatch
    from raypose.specs import ModelSpec, VideoSpec
    from raypose.video.index import VideoIndex
    from raypose.worker.budget import Budget

_ALONE_S, _LOOP_S = 2.5, 5.0
_LEAST_SHARE = 0.75
_ALIKE = 1.25
"""Two speeds within this ratio limit a run about equally."""


def check_model(asked: Asked) -> Finding:
    """Open the model and prepare its network."""
    began = time.perf_counter()
    model, predictor = _load(asked)
    took_s = time.perf_counter() - began
    facts = {
        "type": model.model_type,
        "backbone": model.backbone,
        "keypoints": len(model.keypoint_names),
        "views": len(model.view_names),
        "image": [model.image_height, model.image_width],
        "device": str(predictor.network.device),
    }
    found = (
        f"{model.model_type}, {model.backbone}, {len(model.keypoint_names)} keypoints, images of "
        f"{model.image_width}×{model.image_height}; ready in {took_s:.0f} s"
    )
    return Finding("ok", found, facts=facts)


def check_video_file(asked: Asked) -> Finding:
    """Read the packets of the video, as a plan does."""
    with _own_scratch(asked):
        video = _probe(asked)
    facts = {
        "codec": video.codec,
        "pix_fmt": video.pix_fmt,
        "size": [video.width, video.height],
        "n_frames": video.n_frames,
        "fps": video.fps,
        "notes": list(video.notes),
    }
    found = (
        f"{video.n_frames:,} frames of {video.width}×{video.height}, {video.fps:g} per second, "
        f"{video.format}"
    )
    if video.notes:
        advice = "A run uses it anyway."
        return Finding("warning", f"{found}; {'; '.join(video.notes)}", advice, facts)
    return Finding("ok", found, facts=facts)


def check_speed(asked: Asked) -> Finding:
    """The trial. Its speed is kept for the estimate of `raypose plan`."""
    from raypose.inputs.probe import known_index
    from raypose.video.index import index_video
    from raypose.worker.budget import Budget

    model, predictor = _load(asked)
    on_gpu = predictor.network.device.type == "cuda"
    with _own_scratch(asked), contextlib.ExitStack() as held:
        video = _probe(asked)
        path = local_path(asked.video)
        if path is None:
            path = held.enter_context(scratch.current().copy_of(as_path(asked.video)))
        known = known_index(video)
        index = index_video(path) if known is None else replace(known, path=str(path))
        speeds = measure(index, predictor, Budget.of_process(on_gpu=on_gpu))
    remember_trial(
        Trial(
            model=model.fingerprint,
            device="cuda" if on_gpu else "cpu",
            frames_per_s=speeds.both,
            pixels=video.width * video.height,
        )
    )
    return describe(speeds, predictor, video)


@dataclass(frozen=True, slots=True)
class Speeds:
    """Frames per second, of a video for each view."""

    decoding: float  # alone
    network: float  # alone, with resizing and the sub-pixel step
    both: float  # as in a run
    cpu_share: float = 1.0  # of the cores that the network could use, which it got

    @property
    def bottleneck(self) -> str:
        """What a run waits for."""
        if max(self.decoding, self.network) < _ALIKE * min(self.decoding, self.network):
            return "decoding and network, about equally"
        return "decoding" if self.decoding < self.network else "the network"


def measure(
    index: VideoIndex,
    predictor: Predictor,
    budget: Budget,
    *,
    alone_s: float = _ALONE_S,
    loop_s: float = _LOOP_S,
) -> Speeds:
    """Time decoding, the network, and both; each for about this long.

    Raises:
        VideoError: the video can't be decoded.
        DeviceError: the network does not run.
    """
    decoding = _decode(index, predictor, budget, alone_s)
    began, used = time.perf_counter(), time.process_time()
    network = _network(index, predictor, budget, alone_s)
    used = time.process_time() - used
    cpu_share = used / (time.perf_counter() - began) / budget.compute
    return Speeds(decoding, network, _loop(index, predictor, budget, loop_s), cpu_share)


def describe(speeds: Speeds, predictor: Predictor, video: VideoSpec) -> Finding:
    """The trial in words: what a run will do with this model and video."""
    from raypose.report.terminal import duration

    device = predictor.network.device
    on_gpu = device.type == "cuda"
    hour_s = 3600 * video.fps / speeds.both
    facts = {
        "device": str(device),
        "precision": predictor.precision,
        "batch_size": predictor.batch_size,
        "decoding_frames_per_s": round(speeds.decoding, 1),
        "network_frames_per_s": round(speeds.network, 1),
        "frames_per_s": round(speeds.both, 1),
        "bottleneck": speeds.bottleneck,
        "cpu_share": round(speeds.cpu_share, 2),
        "seconds_per_hour_of_video": round(hour_s, 1),
    }
    where = "each GPU" if on_gpu else "the CPU"
    found = (
        f"{speeds.both:,.0f} frames/s on {where} ({predictor.precision}, batches of "
        f"{predictor.batch_size}); decoding alone {speeds.decoding:,.0f}, the network alone "
        f"{speeds.network:,.0f}. This video takes {duration(video.n_frames / speeds.both)}, an "
        f"hour of such video {duration(hour_s)} per model. Bottleneck: {speeds.bottleneck}"
    )
    if not on_gpu and speeds.cpu_share < _LEAST_SHARE:
        found += f". Other programs were using the CPU: the trial got {speeds.cpu_share:.0%} of it"
        advice = "Try again when this machine is idle: a run alone is faster."
        return Finding("warning", found, advice, facts)
    return Finding("ok", found, _advice(speeds, on_gpu), facts)


def _advice(speeds: Speeds, on_gpu: bool) -> str:
    if "network" in speeds.bottleneck:
        return "" if on_gpu else "A GPU would make the most difference."
    if on_gpu:
        return "Try --decoder nvdec, and --workers-per-gpu 2; more CPU cores help too."
    return "More CPU cores would make the most difference."


def _batches(
    index: VideoIndex, predictor: Predictor, budget: Budget
) -> contextlib.closing[Generator[FrameBatch]]:
    """The video in batches, as a run decodes it."""
    from raypose.inference.frame_source import FrameSource

    spec, network = predictor.spec, predictor.network
    source = FrameSource(
        [index] * network.architecture.n_views,
        0,
        index.n_frames,
        images=[(spec.image_height, spec.image_width)],
        has_context=bool(network.heads),
        bboxes=None,
        decoder="cpu",
        device=network.device,
        threads=budget.reader,
    )
    return contextlib.closing(source.batches(predictor.batch_size))


def _decode(index: VideoIndex, predictor: Predictor, budget: Budget, seconds: float) -> float:
    """Frames per second that a reader gives, of all views together."""
    began, n_frames, elapsed = time.perf_counter(), 0, 0.0
    while elapsed < seconds:
        with _batches(index, predictor, budget) as batches:
            for batch in batches:
                n_frames += len(batch)
                elapsed = time.perf_counter() - began
                if elapsed >= seconds:
                    break
    return n_frames / elapsed


def _network(index: VideoIndex, predictor: Predictor, budget: Budget, seconds: float) -> float:
    """Frames per second that the network takes, of frames that lie in memory."""
    import torch

    from raypose.inference.batch_executor import map_batches

    with _batches(index, predictor, budget) as batches:
        batch = next(batches)

    def predict(batch: FrameBatch) -> Any:
        outputs = predictor.forward(batch)
        if predictor.network.heads is None:
            outputs = predictor.decode_heatmaps(outputs, batch.sizes, None)
        return outputs

    predict(batch)  # the first pass reserves memory
    began = time.perf_counter()

    def repeated() -> Iterator[FrameBatch]:
        while time.perf_counter() - began < seconds:
            yield batch

    n_frames, last = 0, torch.empty(0)
    for outputs in map_batches(predict, repeated(), [predictor.network.device], budget.compute):
        n_frames, last = n_frames + len(batch), outputs
    last.cpu()  # waits for the GPU
    return n_frames / (time.perf_counter() - began)


def _loop(index: VideoIndex, predictor: Predictor, budget: Budget, seconds: float) -> float:
    """Frames per second of a prediction, as a worker does it."""
    from raypose.inference.loop import predict_views

    began = time.perf_counter()
    reports = [(began, 0)]

    def out_of_time() -> bool:
        return time.perf_counter() - began >= seconds and reports[-1][1] > 0

    def report(n_before: int, n_done: int) -> None:
        reports.append((time.perf_counter(), n_before + n_done))

    while not out_of_time():
        with contextlib.suppress(CancelledError):
            (result,) = predict_views(
                [index] * predictor.network.architecture.n_views,
                [predictor],
                reader_threads=budget.reader,
                compute_threads=budget.compute,
                on_progress=partial(report, reports[-1][1]),
                should_stop=out_of_time,
            )
            if isinstance(result, Failure):
                raise VideoError(result.message, path=result.path, hint=result.hint)
    # From the first batch on, where there are enough: before it nothing is under way.
    first = reports[1] if len(reports) > 3 else reports[0]
    return (reports[-1][1] - first[1]) / (reports[-1][0] - first[0])


def _load(asked: Asked) -> tuple[ModelSpec, Predictor]:
    from raypose.inference.device import resolve_device
    from raypose.inference.predictor import Predictor
    from raypose.inputs.models import open_model

    model = open_model(asked.model)
    return model, Predictor(model, device=resolve_device(asked.device))


def _own_scratch(asked: Asked) -> contextlib.AbstractContextManager[None]:
    """Scratch for a copy of the video, where a run with the same option has it."""
    return scratch.used(Path(asked.scratch_dir) if asked.scratch_dir else None, None)


def _probe(asked: Asked) -> VideoSpec:
    from raypose.inputs.probe import probe

    return probe(as_path(asked.video))
