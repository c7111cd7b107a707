"""How many frames a GPU's memory holds at a time: estimated before, and learned when it runs out.

Memory that runs out is no failure of a model. What was computed is dropped, fewer frames are
tried, and the limit is remembered for the next videos. Only one frame that does not fit is an
error.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from raypose.errors import DeviceError, is_out_of_gpu_memory

if TYPE_CHECKING:
    from raypose.inference.artifact import Network

MAX_BATCH = 256
# What a batch on the CPU best amounts to, in pixels of the network's input: larger ones fall out
# of the caches (EfficientNet-B0 at 128 px: 390 frames/s in batches of 16, 220 in batches of 64),
# smaller ones leave cores idle.
_CPU_BATCH_PIXELS = 16 * 128 * 128
# The share of a GPU's free memory for activations: the rest is for decoded frames and what the
# allocator can't use.
_GPU_MEMORY_SHARE = 0.5


class FrameLimit:
    """How many frames of one model fit into the GPU's memory: `n_frames`, None until it runs out.

    Args:
        model: the model's directory, for messages.
    """

    def __init__(self, model: str = "") -> None:
        self.n_frames: int | None = None
        self._model = model

    def allows(self, n_frames: int) -> bool:
        """Whether this many frames may be tried."""
        return self.n_frames is None or n_frames <= self.n_frames

    def in_parts(
        self, compute: Callable[[int, int], torch.Tensor], n: int, size: int
    ) -> torch.Tensor:
        """What `compute(start, stop)` gives for n frames, in parts of up to `size`.

        Raises:
            DeviceError: the GPU's memory is too small for one frame.
        """
        parts: list[torch.Tensor] = []
        done = 0
        while done < n:
            end = min(done + min(size, self.n_frames or size), n)
            part = unless_memory_runs_out(lambda start=done, stop=end: compute(start, stop))  # type: ignore[misc]
            if part is None:
                self.lower(end - done)
                continue
            parts.append(part)
            done = end
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def lower(self, n_tried: int) -> None:
        """Note that memory ran out with `n_tried` frames: at most half of them from here on.

        Call it when nothing holds on to what was computed: not where the error is handled, whose
        traceback keeps all of it.

        Raises:
            DeviceError: one frame is too much already.
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


def unless_memory_runs_out(compute: Callable[[], torch.Tensor]) -> torch.Tensor | None:
    """What `compute` gives; None if the GPU's memory ran out, and then nothing is kept."""
    try:
        return compute()
    except RuntimeError as error:
        if not is_out_of_gpu_memory(error):
            raise
        return None


def choose_batch_size(network: Network, limit: FrameLimit) -> int:
    """A batch size that suits the device.

    On the CPU it follows the caches; on a GPU the free memory, of which a small batch takes some.
    """
    from raypose.inference.network import example_images

    architecture = network.architecture
    if network.device.type != "cuda":
        n_views = architecture.n_views
        pixels = architecture.image_height * architecture.image_width * n_views
        return min(32, max(1 if n_views > 1 else 2, _CPU_BATCH_PIXELS // pixels))
    per_frame = None
    for n_frames in (4, 1):
        per_frame = _bytes_per_frame(network, example_images(architecture, n_frames, seed=0))
        if per_frame is not None:
            break
        limit.lower(n_frames)
    assert per_frame is not None
    free, _ = torch.cuda.mem_get_info(network.device)
    return batch_size_that_fits(free, per_frame)


def _bytes_per_frame(network: Network, images: torch.Tensor) -> float | None:
    """Memory that the network takes for each of these images; None if there is not enough."""
    before = 0

    def forward() -> torch.Tensor:
        nonlocal before
        on_device = images.to(network.device, network.dtype)
        torch.cuda.reset_peak_memory_stats(network.device)
        before = torch.cuda.memory_allocated(network.device)
        with torch.inference_mode():
            return network.forward(on_device)

    if unless_memory_runs_out(forward) is None:
        return None
    return float(torch.cuda.max_memory_allocated(network.device) - before) / len(images)


def batch_size_that_fits(free_bytes: float, bytes_per_frame: float) -> int:
    """The largest power of two up to 256 whose activations fit into half the free memory."""
    fits = int(free_bytes * _GPU_MEMORY_SHARE / max(1.0, bytes_per_frame))
    return 1 << (max(1, min(MAX_BATCH, fits)).bit_length() - 1)
