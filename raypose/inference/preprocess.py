"""Batches of frames, and the images that a network takes.

A batch holds either whole RGB frames or samples: the pixels that the networks' images are made
from (`sampling`). Both become resized, normalised float images. The numbers are those of Lightning
Pose: values divided by 255, bilinear interpolation without antialiasing, then mean and standard
deviation of ImageNet. They are the same in every bit whether frames are whole or sampled, on the
CPU or on a GPU; OpenCV, which resizes whole frames on the CPU, gives the numbers of
`torch.nn.functional.interpolate` within rounding. Crops are those of Lightning Pose's
`crop_and_resize_frames`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from raypose.inference.colours import Colours
from raypose.inference.sampling import (
    Way,
    as_coded,
    gather,
    interpolate,
    opencv_way,
    parts,
    pixels_read,
    rgb_planes,
)

# Frames that are converted at a time: what a CPU's caches hold, and some of a GPU's memory.
_AT_ONCE, _AT_ONCE_ON_GPU = 1, 32

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

Sizes = tuple[tuple[int, int], ...]
"""For each view the rows and columns of its frames."""
Bboxes = tuple[NDArray[np.int64], ...]
"""For each view (B, 4) x, y, height, width of the network's field of view, within the frame."""


def gpu_way() -> Way:
    """The way of interpolation on a GPU: the one of the CPU beside it, if it can be had."""
    return opencv_way() or Way.PLAIN


@dataclass(frozen=True, slots=True)
class RgbFrames:
    """Whole frames of one view: (B, H, W, 3) uint8 RGB."""

    pixels: torch.Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return self.pixels.shape[1], self.pixels.shape[2]

    def part(self, start: int, stop: int) -> RgbFrames:
        """Frames `start` (included) to `stop` (excluded)."""
        return RgbFrames(self.pixels[start:stop])

    def resized(
        self, height: int, width: int, device: torch.device, bboxes: NDArray[np.int64] | None
    ) -> torch.Tensor:
        """(B, height, width, 3) values of 0 to 255 in float32 on a device."""
        if device.type == "cpu":
            return _resize_with_opencv(self.pixels, height, width, bboxes)
        on_device = RgbFrames(self.pixels.to(device))
        samples = sampled(on_device, (height, width), bboxes, gpu_way())
        return samples.resized(height, width, device, bboxes)


@dataclass(frozen=True, slots=True)
class SampledFrames:
    """What the networks' images are made from, of the frames of one view.

    Attributes:
        size: rows and columns of a frame.
        samples: by the rows and columns of the image, (B, 3, 2, 2, h, w) uint8.
        colours: of each frame, what turns its values into RGB; None where they are RGB.
        way: of interpolation, for which they were taken.
        ready: on a GPU, the event that happens when the samples are there.
    """

    size: tuple[int, int]
    samples: Mapping[tuple[int, int], torch.Tensor]
    colours: tuple[Colours | None, ...]
    way: Way
    ready: Any = None

    def __len__(self) -> int:
        return len(self.colours)

    def part(self, start: int, stop: int) -> SampledFrames:
        """Frames `start` (included) to `stop` (excluded)."""
        samples = {image: values[start:stop] for image, values in self.samples.items()}
        return SampledFrames(self.size, samples, self.colours[start:stop], self.way, self.ready)

    def resized(
        self, height: int, width: int, device: torch.device, bboxes: NDArray[np.int64] | None
    ) -> torch.Tensor:
        """(B, height, width, 3) values of 0 to 255 in float32 on a device."""
        samples = self.samples[height, width]
        if self.ready is not None:
            stream = torch.cuda.current_stream(samples.device)
            stream.wait_event(self.ready)
            samples.record_stream(stream)
        samples = samples.to(device)
        images = torch.empty((len(self), height, width, 3), dtype=torch.float32, device=device)
        found = parts(self.size, (height, width), bboxes, self.way)
        rows, columns = (values.to(device) for values in found)
        most = _AT_ONCE if device.type == "cpu" else _AT_ONCE_ON_GPU
        start = 0
        for colours, same in groupby(self.colours):
            end = start + sum(1 for _ in same)
            for at in range(start, end, most):
                part = slice(at, min(at + most, end))
                down, across = (t if bboxes is None else t[part] for t in (rows, columns))
                taken = samples[part]
                rgb = taken.to(torch.float32) if colours is None else colours.to_rgb(taken)
                images[part] = interpolate(rgb, down, across, self.way).permute(0, 2, 3, 1)
            start = end
        return images


Frames = RgbFrames | SampledFrames


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """The same frames of one or several views, which may differ in height and width.

    Attributes:
        views: the frames of each view.
        bboxes: what the network sees; None for whole frames.
    """

    views: tuple[Frames, ...]
    bboxes: Bboxes | None = None

    def __len__(self) -> int:
        return len(self.views[0])

    @property
    def sizes(self) -> Sizes:
        return tuple(view.size for view in self.views)

    def part(self, start: int, stop: int) -> FrameBatch:
        """Frames `start` (included) to `stop` (excluded) of all views."""
        views = tuple(view.part(start, stop) for view in self.views)
        return FrameBatch(views, sliced(self.bboxes, start, stop))


def sliced(bboxes: Bboxes | None, start: int, stop: int) -> Bboxes | None:
    """The bounding boxes of frames `start` (included) to `stop` (excluded) of all views."""
    return None if bboxes is None else tuple(view[start:stop] for view in bboxes)


def prepare_images(
    frames: Frames,
    height: int,
    width: int,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    bboxes: NDArray[np.int64] | None = None,
) -> torch.Tensor:
    """Crop, resize and normalise frames, on the CPU or on `device`.

    `bboxes` (B, 4) of the crops are those of `clamp_bboxes`. The images (B, 3, height, width) have
    their channels last in memory.
    """
    resized = frames.resized(height, width, device, bboxes)
    scale, shift = _normalisation(str(device))
    return resized.mul_(scale).add_(shift).permute(0, 3, 1, 2).to(dtype)


def clamp_bboxes(
    bboxes: NDArray[np.float64], frame_height: int, frame_width: int
) -> NDArray[np.int64]:
    """(B, 4) x, y, height, width in whole pixels, as upstream cuts them, within the frame."""
    x, y, h, w = (bboxes[:, i].astype(np.int64) for i in range(4))  # towards zero, as `int` does
    x1, y1 = np.clip(x, 0, frame_width - 1), np.clip(y, 0, frame_height - 1)
    x2 = np.maximum(x1 + 1, np.minimum(frame_width, x + w))
    y2 = np.maximum(y1 + 1, np.minimum(frame_height, y + h))
    return np.stack((x1, y1, y2 - y1, x2 - x1), axis=1)


def _resize_with_opencv(
    frames: torch.Tensor, height: int, width: int, bboxes: NDArray[np.int64] | None
) -> torch.Tensor:
    pixels = frames.numpy()
    resized = np.empty((len(pixels), height, width, 3), np.float32)
    for i, frame in enumerate(pixels):
        if bboxes is not None:
            x, y, h, w = bboxes[i]
            frame = frame[y : y + h, x : x + w]
        # In floating point: OpenCV would round the interpolated values of integers.
        cv2.resize(
            frame.astype(np.float32), (width, height), resized[i], interpolation=cv2.INTER_LINEAR
        )
    return torch.from_numpy(resized)


def sampled(
    frames: RgbFrames,
    image: tuple[int, int],
    bboxes: NDArray[np.int64] | None = None,
    way: Way = Way.PLAIN,
) -> SampledFrames:
    """Of whole frames what images are made from, on their device."""
    places = as_coded(*pixels_read(frames.size, image, bboxes, way), frames.size, 0)
    index = np.stack([plane.index(*places) for plane in rgb_planes(frames.size[1])], 1)
    samples = gather(frames.pixels.flatten(1), torch.from_numpy(index).to(frames.pixels.device))
    return SampledFrames(frames.size, {image: samples}, (None,) * len(frames), way)


@functools.lru_cache(maxsize=16)
def _normalisation(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Factor and addend that turn values of 0 to 255 into normalised ones."""
    with torch.inference_mode(False):
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (MEAN, STD))
        scale, shift = 1 / (255 * std), -mean / std
        return scale.to(device, torch.float32), shift.to(device, torch.float32)
