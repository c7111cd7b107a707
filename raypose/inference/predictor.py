"""A model that is loaded and stays loaded: frames in, keypoints out.

The heart of inference. A worker keeps its predictors between tasks, since loading costs more
than predicting a short clip. A predictor knows nothing of videos; `loop` feeds it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raypose.errors import DeviceError, ModelError, is_out_of_gpu_memory
from raypose.inference.views import Boxes, Sizes, Views
from raypose.specs import ModelSpec

if TYPE_CHECKING:
    import torch

# What a batch on the CPU best amounts to, in pixels of the network's input: larger ones fall
# out of the caches (EfficientNet-B0 at 128 px: 390 frames/s in batches of 16, 220 in batches
# of 64), smaller ones leave cores idle.
_CPU_BATCH_PIXELS = 16 * 128 * 128
_GPU_BATCH_MAX = 256
# Of the free memory of a GPU, for activations: the rest is for decoded frames and what the
# allocator can't use.
_GPU_MEMORY_SHARE = 0.5


class Predictor:
    """A network on a device, with what goes before and after it.

    Args:
        spec: the model.
        graph: the model as `graph.cached_graph` gives it; None asks for it here.
        device: `cpu`, or `cuda:0` and so on.
        precision: `fp32`, `bf16` or `fp16`; an engine has its own.
        allow_unsafe: unpickle whatever is in the checkpoint, where it must be read.

    Attributes:
        spec: the model.
        precision: that it computes in, for the record.
        batch_size: frames that best go through the network at a time.
        most_frames: frames that fit into the GPU's memory at a time; None as long as it has not
            run out. Whoever reads the frames may do so in larger batches.

    Raises:
        ModelError: the model can't be built.
    """

    def __init__(
        self,
        spec: ModelSpec,
        graph: bytes | None = None,
        device: str = "cpu",
        precision: str = "fp32",
        *,
        allow_unsafe: bool = False,
    ) -> None:
        from raypose.inference.artifact import cached_graph, load_network
        from raypose.inference.exported import load_engine

        self.spec = spec
        self.precision = precision if spec.engine is None else spec.engine.precision
        if graph is None:
            graph = cached_graph(spec, allow_unsafe=allow_unsafe)
        if spec.engine is None:
            self.network = load_network(graph, device, precision, path=spec.directory)
        else:
            self.network = load_engine(spec, graph, device)
        self._check()
        self.most_frames: int | None = None
        self.batch_size = _GPU_BATCH_MAX
        self.batch_size = self.network.batch_size or choose_batch_size(self)

    @property
    def n_views(self) -> int:
        """Views that the network takes at once."""
        return self.network.architecture.n_views

    @property
    def input_key(self) -> tuple[int, int, str, str]:
        """Predictors with equal keys take the same images, which need be made only once."""
        network = self.network
        return (
            self.spec.image_height,
            self.spec.image_width,
            str(network.device),
            str(network.dtype),
        )

    def predict(
        self,
        frames: torch.Tensor | NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
        boxes: NDArray[np.int64] | Sequence[NDArray[np.int64]] | None = None,
    ) -> torch.Tensor:
        """Keypoints of some frames.

        Args:
            frames: (B, H, W, 3) uint8 RGB, B not bounded by `batch_size`; for a model that takes
                several views, such frames of each of them.
            boxes: (B, 4) x, y, height, width within the frame that the network looks at, or such
                boxes of each view; None for whole frames.

        Returns:
            (B, K, 3) float32 on the predictor's device: x and y in pixels of the frame,
            likelihood; of several views (B, V·K, 3), view by view.
        """
        import torch

        from raypose.inference.windows import Windows, with_edges

        several = not isinstance(frames, torch.Tensor | np.ndarray)
        views = Views(
            tuple(
                torch.as_tensor(np.ascontiguousarray(f)) for f in (frames if several else [frames])
            ),
            None if boxes is None else tuple(boxes) if several else (boxes,),  # type: ignore[arg-type]
        )
        if not len(views):
            return torch.empty(0, self.n_views * len(self.spec.keypoint_names), 3)
        outputs = self.forward(views)
        if self.network.heads is None:
            return self.locate(outputs, views.sizes, views.boxes)
        windows = Windows()
        features = windows.push(outputs)
        inner = views.boxes
        if features is None:
            features = windows.padded()
            assert features is not None
        elif inner is not None:
            inner = tuple(view[2:-2] for view in inner)
        return with_edges(self.infer_windows(features, views.sizes, inner), len(views))

    def forward(self, views: Views) -> torch.Tensor:
        """What the network gives for some frames, in as many batches as it takes."""
        import torch

        def part(start: int, stop: int) -> torch.Tensor:
            images = self.prepare(views.part(start, stop))
            with torch.inference_mode():
                return self.network.forward(images)

        return self._in_parts(part, len(views), self.batch_size)

    def forward_at_once(
        self, views: Views, images: Callable[[], torch.Tensor]
    ) -> torch.Tensor | None:
        """What the network gives for all of the frames together.

        Args:
            views: the frames.
            images: makes the images of them, or has them already.

        Returns:
            None where that is more than fits into memory; `forward` then takes smaller batches.
        """
        import torch

        if self.most_frames is not None and self.most_frames < len(views):
            return None
        with torch.inference_mode():
            return _unless_memory_runs_out(lambda: self.network.forward(images()))

    def _in_parts(
        self, compute: Callable[[int, int], torch.Tensor], n: int, size: int
    ) -> torch.Tensor:
        """What `compute` gives for frames `start` to `stop` of n, in parts of up to `size`.

        Raises:
            DeviceError: the memory of the GPU is too small for one frame.
        """
        import torch

        parts: list[torch.Tensor] = []
        done = 0
        while done < n:
            end = min(done + min(size, self.most_frames or size), n)
            part = _unless_memory_runs_out(lambda start=done, stop=end: compute(start, stop))  # type: ignore[misc]
            if part is None:
                self.note_too_many(end - done)
                continue
            parts.append(part)
            done = end
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def prepare(self, views: Views) -> torch.Tensor:
        """The images that the network takes: (B, 3, h, w), of several views (B, V, 3, h, w)."""
        import torch

        from raypose.inference.preprocess import prepare_images

        with torch.inference_mode():
            images = [
                prepare_images(
                    pixels,
                    self.spec.image_height,
                    self.spec.image_width,
                    device=self.network.device,
                    dtype=self.network.dtype,
                    boxes=None if views.boxes is None else views.boxes[v],
                )
                for v, pixels in enumerate(views.pixels)
            ]
            if self.n_views == 1:
                return images[0]
            # Channels stay last in memory, as `prepare_images` leaves them.
            return torch.stack([i.permute(0, 2, 3, 1) for i in images], 1).permute(0, 1, 4, 2, 3)

    def infer_windows(
        self,
        features: torch.Tensor,
        sizes: Sizes,
        boxes: Boxes | None = None,
    ) -> torch.Tensor:
        """Keypoints of a model with temporal context.

        Args:
            features: (T + 4, …) what the network gave for consecutive frames.
            sizes: of the frames.
            boxes: of the inner T frames.

        Returns:
            (T, K, 3) of the inner frames, each keypoint from the one of the two heads that is
            the more confident of it.
        """
        import torch

        heads = self.network.heads
        assert heads is not None

        def part(start: int, stop: int) -> torch.Tensor:
            inner = None if boxes is None else tuple(view[start:stop] for view in boxes)
            with torch.inference_mode():
                alone, several = (
                    self._locate(heatmaps, sizes, inner)
                    for heatmaps in heads(features[start : stop + 4])
                )
                # What is no number in one of the two must not hide behind the other.
                sure = several[..., 2:] > alone[..., 2:]
                return torch.where(sure | several[..., 2:].isnan(), several, alone)

        n_frames = len(features) - 4
        return self._in_parts(part, n_frames, n_frames)

    def locate(self, outputs: torch.Tensor, sizes: Sizes, boxes: Boxes | None) -> torch.Tensor:
        """(B, V·K, 3) keypoints in pixels of the frame, of what the network gave."""

        def part(start: int, stop: int) -> torch.Tensor:
            inner = None if boxes is None else tuple(view[start:stop] for view in boxes)
            return self._locate(outputs[start:stop], sizes, inner)

        return self._in_parts(part, len(outputs), len(outputs))

    def _locate(self, outputs: torch.Tensor, sizes: Sizes, boxes: Boxes | None) -> torch.Tensor:
        import torch

        from raypose.inference.subpixel import keypoints_from_heatmaps

        architecture = self.network.architecture
        height, width = self.spec.image_height, self.spec.image_width
        with torch.inference_mode():
            if architecture.gives_coordinates:
                # There is no notion of confidence; Lightning Pose's `predict_frame` says 1.
                found = torch.cat((outputs, torch.ones_like(outputs[..., :1])), dim=-1)
            else:
                found = keypoints_from_heatmaps(outputs, architecture.downsample_factor)
            for v, view in enumerate(found.chunk(self.n_views, dim=1)):
                if boxes is None:
                    view[..., 0].div_(width).mul_(sizes[v][1])
                    view[..., 1].div_(height).mul_(sizes[v][0])
                else:
                    x, y, h, w = torch.from_numpy(boxes[v]).to(found).unbind(1)
                    view[..., 0].div_(width).mul_(w[:, None]).add_(x[:, None])
                    view[..., 1].div_(height).mul_(h[:, None]).add_(y[:, None])
            return found

    def note_too_many(self, tried: int) -> None:
        """After memory ran out with `tried` frames: fewer from here on.

        To be called when nothing holds on to what was computed: not where the error is handled,
        whose traceback keeps all of it.

        Raises:
            DeviceError: one frame is too much already.
        """
        import torch

        if tried <= 1:
            raise DeviceError(
                "the GPU's memory is too small for one frame of this model",
                path=self.spec.directory,
                hint="Close other programs that use the GPU, or run with --device cpu.",
            )
        # Another batch may have found out about less in the meantime.
        self.most_frames = min(tried // 2, self.most_frames or tried)
        self.batch_size = min(self.batch_size, self.most_frames)
        gc.collect()
        torch.cuda.empty_cache()

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


def _unless_memory_runs_out(compute: Callable[[], torch.Tensor]) -> torch.Tensor | None:
    """What `compute` gives; None where the GPU's memory ran out, and then nothing is kept."""
    try:
        return compute()
    except RuntimeError as error:
        if not is_out_of_gpu_memory(error):
            raise
        return None


def choose_batch_size(predictor: Any) -> int:
    """A batch size that suits the device.

    On the CPU by the caches; on a GPU by what a small batch takes of the memory that is free.
    """
    import torch

    network = predictor.network
    pixels = predictor.spec.image_height * predictor.spec.image_width * predictor.n_views
    if network.device.type != "cuda":
        return int(min(32, max(1 if predictor.n_views > 1 else 2, _CPU_BATCH_PIXELS // pixels)))
    from raypose.inference.network import example_images

    per_frame = None
    for probe in (4, 1):
        per_frame = _bytes_per_frame(network, example_images(network.architecture, probe, seed=0))
        if per_frame is not None:
            break
        predictor.note_too_many(probe)
    assert per_frame is not None
    free, _ = torch.cuda.mem_get_info(network.device)
    return min(batch_size_that_fits(free, per_frame), predictor.most_frames or _GPU_BATCH_MAX)


def _bytes_per_frame(network: Any, images: torch.Tensor) -> float | None:
    """Memory that the network takes for each of these images; None where there is not enough."""
    import torch

    before = 0

    def forward() -> torch.Tensor:
        nonlocal before
        on_device = images.to(network.device, network.dtype)
        torch.cuda.reset_peak_memory_stats(network.device)
        before = torch.cuda.memory_allocated(network.device)
        with torch.inference_mode():
            outputs: torch.Tensor = network.forward(on_device)
            return outputs

    if _unless_memory_runs_out(forward) is None:
        return None
    return float(torch.cuda.max_memory_allocated(network.device) - before) / len(images)


def batch_size_that_fits(free_bytes: float, bytes_per_frame: float) -> int:
    """The largest power of two up to 256 whose activations fit into half the free memory."""
    fits = int(free_bytes * _GPU_MEMORY_SHARE / max(1.0, bytes_per_frame))
    return 1 << (max(1, min(_GPU_BATCH_MAX, fits)).bit_length() - 1)
