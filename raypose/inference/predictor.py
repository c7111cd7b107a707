"""A model that is loaded and stays loaded: frames in, keypoints out.

A worker keeps its predictors between tasks, since loading costs more than predicting a short clip.
How many frames a GPU's memory holds at a time is estimated before, and learned when it runs out:
what was computed is then dropped, and the limit is remembered for the next videos. Only one frame
that does not fit is an error.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch

from raypose.errors import DeviceError, ModelError, is_out_of_gpu_memory
from raypose.inference.artifact import Network, NetworkArtifact, cached_artifact, load_network
from raypose.inference.exported import load_exported
from raypose.inference.preprocess import Bboxes, FrameBatch, Sizes, prepare_images, sliced
from raypose.inference.subpixel import keypoints_from_heatmaps
from raypose.inference.windows import CONTEXT
from raypose.specs import ModelSpec

_MAX_BATCH = 256
# What a batch on the CPU best amounts to, in pixels of the network's input: larger ones fall out
# of the caches (EfficientNet-B0 at 128 px: 390 frames/s in batches of 16, 220 in batches of 64),
# smaller ones leave cores idle.
_CPU_BATCH_PIXELS = 16 * 128 * 128
# The share of a GPU's free memory for activations: the rest is for decoded frames and what the
# allocator can't use.
_GPU_MEMORY_SHARE = 0.5


class Predictor:
    """A network on a device, with what goes before and after it.

    Args:
        spec: the model.
        artifact: the model as `artifact.cached_artifact` gives it; None asks for it here.
        device: `cpu`, or `cuda:0` and so on.
        precision: `fp32`, `bf16` or `fp16`; an exported model has its own, and the attribute is
            that one.
        allow_unsafe: unpickle whatever is in the checkpoint, if it must be read.

    Raises:
        ModelError: the model can't be built.
    """

    def __init__(
        self,
        spec: ModelSpec,
        artifact: NetworkArtifact | None = None,
        device: str = "cpu",
        precision: str = "fp32",
        *,
        allow_unsafe: bool = False,
    ) -> None:
        self.spec = spec
        self.precision = precision if spec.exported is None else spec.exported.precision
        if artifact is None:
            artifact = cached_artifact(spec, allow_unsafe=allow_unsafe)
        if spec.exported is None:
            self.network = load_network(artifact, device, precision, path=spec.directory)
        else:
            self.network = load_exported(spec, artifact, device)
        self._check()
        self.limit = _FrameLimit(spec.directory)
        self._batch_size = self.network.batch_size or _choose_batch_size(self.network, self.limit)

    @property
    def batch_size(self) -> int:
        """Frames that best go through the network at a time."""
        return min(self._batch_size, self.limit.n_frames or self._batch_size)

    def forward(self, batch: FrameBatch, images: SharedImages | None = None) -> torch.Tensor:
        """What the network gives for a batch: all at once if it fits, else in smaller parts."""
        images = images or SharedImages(batch)
        n, limit = len(batch), self.limit
        if n <= (limit.n_frames or n):
            outputs = _unless_memory_runs_out(lambda: self._forward(images.of(self)))
            if outputs is not None:
                return outputs
            images.release()
            limit.lower(n)
        images.release()
        return limit.in_parts(
            lambda start, stop: self._forward(self.prepare(batch.part(start, stop))),
            n,
            self.batch_size,
        )

    def _forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return self.network.forward(images)

    def prepare(self, batch: FrameBatch) -> torch.Tensor:
        """The images that the network takes: (B, 3, h, w), of several views (B, V, 3, h, w)."""
        size = self.spec.image_height, self.spec.image_width
        device, dtype = self.network.device, self.network.dtype
        with torch.inference_mode():
            images = [
                prepare_images(frames, *size, device=device, dtype=dtype, bboxes=crops)
                for frames, crops in zip(
                    batch.views, batch.bboxes or [None] * len(batch.views), strict=True
                )
            ]
            if self.network.architecture.n_views == 1:
                return images[0]
            # Channels stay last in memory, as `prepare_images` leaves them.
            return torch.stack([i.permute(0, 2, 3, 1) for i in images], 1).permute(0, 1, 4, 2, 3)

    def predict_windows(
        self, features: torch.Tensor, sizes: Sizes, bboxes: Bboxes | None
    ) -> torch.Tensor:
        """(T, K, 3) keypoints from (T + 4, …) features of consecutive frames, of the inner ones.

        Each keypoint is from the one of the two heads that is more confident of it. `bboxes` are
        those of the inner frames.
        """
        heads = self.network.heads
        assert heads is not None

        def part(start: int, stop: int) -> torch.Tensor:
            inner = sliced(bboxes, start, stop)
            with torch.inference_mode():
                alone, several = (
                    self._decode(heatmaps, sizes, inner)
                    for heatmaps in heads(features[start : stop + 2 * CONTEXT])
                )
                # A NaN in one of the two must not hide behind the other.
                sure = several[..., 2:] > alone[..., 2:]
                return torch.where(sure | several[..., 2:].isnan(), several, alone)

        n_frames = len(features) - 2 * CONTEXT
        return self.limit.in_parts(part, n_frames, n_frames)

    def decode_heatmaps(
        self, outputs: torch.Tensor, sizes: Sizes, bboxes: Bboxes | None
    ) -> torch.Tensor:
        """(B, V·K, 3) keypoints in pixels of the frame, from what the network gave."""

        def part(start: int, stop: int) -> torch.Tensor:
            return self._decode(outputs[start:stop], sizes, sliced(bboxes, start, stop))

        return self.limit.in_parts(part, len(outputs), len(outputs))

    def _decode(self, outputs: torch.Tensor, sizes: Sizes, bboxes: Bboxes | None) -> torch.Tensor:
        architecture = self.network.architecture
        height, width = self.spec.image_height, self.spec.image_width
        with torch.inference_mode():
            if architecture.gives_coordinates:
                # Without a notion of confidence; Lightning Pose's `predict_frame` says 1.
                found = torch.cat((outputs, torch.ones_like(outputs[..., :1])), dim=-1)
            else:
                found = keypoints_from_heatmaps(outputs, architecture.downsample_factor)
            for v, view in enumerate(found.chunk(architecture.n_views, dim=1)):
                if bboxes is None:
                    view[..., 0].div_(width).mul_(sizes[v][1])
                    view[..., 1].div_(height).mul_(sizes[v][0])
                else:
                    x, y, h, w = torch.from_numpy(bboxes[v]).to(found).unbind(1)
                    view[..., 0].div_(width).mul_(w[:, None]).add_(x[:, None])
                    view[..., 1].div_(height).mul_(h[:, None]).add_(y[:, None])
            return found

    def _check(self) -> None:
        architecture = self.network.architecture
        n_views = len(self.spec.view_names) if self.spec.takes_views else 1
        if architecture.n_views != n_views:
            raise ModelError(
                f"the network takes {architecture.n_views} views, and the config names {n_views}",
                path=self.spec.directory,
                hint="Check data.view_names in the config.",
            )
        if architecture.n_keypoints != len(self.spec.keypoint_names):
            raise ModelError(
                "the prepared network is of another model",
                path=self.spec.directory,
                hint="Delete raypose's cache directory and run the same command again.",
            )


class SharedImages:
    """The images of a batch, made once for all predictors that take the same ones."""

    def __init__(self, batch: FrameBatch) -> None:
        self._batch = batch
        self._images: dict[tuple[object, ...], torch.Tensor] = {}

    def of(self, predictor: Predictor) -> torch.Tensor:
        """The images that a predictor takes."""
        spec, network = predictor.spec, predictor.network
        key = (spec.image_height, spec.image_width, network.device, network.dtype)
        if key not in self._images:
            self._images[key] = predictor.prepare(self._batch)
        return self._images[key]

    def release(self) -> None:
        """Free the prepared images; `of` prepares them again on demand."""
        self._images.clear()


class _FrameLimit:
    """How many frames of a model fit into the GPU's memory: `n_frames`, None until it runs out."""

    def __init__(self, model: str = "") -> None:
        self.n_frames: int | None = None
        self._model = model

    def in_parts(
        self, compute: Callable[[int, int], torch.Tensor], n: int, size: int
    ) -> torch.Tensor:
        """What `compute(start, stop)` gives for n frames, in parts of up to `size`."""
        parts: list[torch.Tensor] = []
        done = 0
        while done < n:
            end = min(done + min(size, self.n_frames or size), n)
            part = _unless_memory_runs_out(lambda start=done, stop=end: compute(start, stop))  # type: ignore[misc]
            if part is None:
                self.lower(end - done)
            else:
                parts.append(part)
                done = end
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def lower(self, n_tried: int) -> None:
        """Note that memory ran out with `n_tried` frames: at most half of them from here on.

        Call it when nothing holds on to what was computed: not where the error is handled, whose
        traceback keeps all of it.
        """
        if n_tried <= 1:
            raise DeviceError(
                "the GPU's memory is too small for one frame of this model",
                path=self._model,
                hint="Close other programs that use the GPU, or run with --device cpu.",
            )
        # Another batch may have found out about less in the meantime.
        self.n_frames = min(n_tried // 2, self.n_frames or n_tried)
        gc.collect()
        torch.cuda.empty_cache()


def _unless_memory_runs_out(compute: Callable[[], torch.Tensor]) -> torch.Tensor | None:
    """What `compute` gives; None if the GPU's memory ran out, and then nothing is kept."""
    try:
        return compute()
    except RuntimeError as error:
        if not is_out_of_gpu_memory(error):
            raise
        return None


def _choose_batch_size(network: Network, limit: _FrameLimit) -> int:
    """A batch size that suits the caches of the CPU, or the free memory of the GPU."""
    from raypose.inference.network import example_images

    architecture, device = network.architecture, network.device
    if device.type != "cuda":
        n_views = architecture.n_views
        pixels = architecture.image_height * architecture.image_width * n_views
        return min(32, max(1 if n_views > 1 else 2, _CPU_BATCH_PIXELS // pixels))
    before = 0

    def forward() -> torch.Tensor:
        nonlocal before
        on_device = images.to(device, network.dtype)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        with torch.inference_mode():
            return network.forward(on_device)

    n_frames = 4
    images = example_images(architecture, n_frames, seed=0)
    while _unless_memory_runs_out(forward) is None:
        limit.lower(n_frames)
        n_frames = 1
        images = example_images(architecture, n_frames, seed=0)
    peak = torch.cuda.max_memory_allocated(device)
    free, _ = torch.cuda.mem_get_info(device)
    return batch_size_that_fits(free, float(peak - before) / n_frames)


def batch_size_that_fits(free_bytes: float, bytes_per_frame: float) -> int:
    """The largest power of two up to 256 whose activations fit into half the free memory."""
    fits = int(free_bytes * _GPU_MEMORY_SHARE / max(1.0, bytes_per_frame))
    return 1 << (max(1, min(_MAX_BATCH, fits)).bit_length() - 1)
