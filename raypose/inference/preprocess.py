"""Batches of frames, and the images that a network takes.

Planes of luma and chroma → RGB (`nv12_to_rgb`, where a GPU decodes) → resized, normalised float
images (`prepare_images`). The numbers are those of Lightning Pose: values divided by 255, bilinear
interpolation without antialiasing, then mean and standard deviation of ImageNet. On the CPU OpenCV
resizes, which gives the numbers of `torch.nn.functional.interpolate` within rounding in a third of
its time; on a GPU torch does. Crops are those of Lightning Pose's `crop_and_resize_frames`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

Sizes = tuple[tuple[int, int], ...]
"""For each view the rows and columns of its frames."""
Bboxes = tuple[NDArray[np.int64], ...]
"""For each view (B, 4) x, y, height, width of the network's field of view, within the frame."""


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """The same frames of one or several views, which may differ in height and width.

    Attributes:
        pixels: for each view (B, H, W, 3) uint8 RGB.
        bboxes: what the network sees; None for whole frames.
    """

    pixels: tuple[torch.Tensor, ...]
    bboxes: Bboxes | None = None

    def __len__(self) -> int:
        return len(self.pixels[0])

    @property
    def sizes(self) -> Sizes:
        return tuple((view.shape[1], view.shape[2]) for view in self.pixels)

    def part(self, start: int, stop: int) -> FrameBatch:
        """Frames `start` (included) to `stop` (excluded) of all views."""
        pixels = tuple(view[start:stop] for view in self.pixels)
        return FrameBatch(pixels, sliced(self.bboxes, start, stop))


def sliced(bboxes: Bboxes | None, start: int, stop: int) -> Bboxes | None:
    """The bounding boxes of frames `start` (included) to `stop` (excluded) of all views."""
    return None if bboxes is None else tuple(view[start:stop] for view in bboxes)


def nv12_to_rgb(
    luma: torch.Tensor, chroma: torch.Tensor, *, full_range: bool, bt709: bool
) -> torch.Tensor:
    """RGB (B, H, W, 3) as swscale makes it, and so OpenCV: a chroma value serves its four pixels.

    Luma (B, H, W) and chroma (B, H/2, W/2, 2), Cb and Cr, are uint8: from 0 to 255 in full range,
    else from 16 to 235 (240 for chroma). The matrix is that of BT.709, else of BT.601.
    """
    red, blue = (0.2126, 0.0722) if bt709 else (0.299, 0.114)
    green = 1 - red - blue
    gain, chroma_gain, black = (1.0, 1.0, 0.0) if full_range else (255 / 219, 255 / 224, 16.0)
    cb, cr = ((chroma.float() - 128) * (2 * chroma_gain)).unbind(-1)
    # As in swscale: each product is cut off to whole numbers before they are added up.
    parts = (
        torch.floor((1 - red) * cr),
        torch.floor(-(blue * (1 - blue) / green) * cb)
        + torch.floor(-(red * (1 - red) / green) * cr),
        torch.floor((1 - blue) * cb),
    )
    y = torch.floor((luma.float() - black) * gain)
    rgb = torch.empty((*luma.shape, 3), dtype=torch.uint8, device=luma.device)
    for channel, part in enumerate(parts):
        spread = part.repeat_interleave(2, 1).repeat_interleave(2, 2)
        rgb[..., channel] = (y + spread).clamp_(0, 255).to(torch.uint8)
    return rgb


def prepare_images(
    frames: torch.Tensor,
    height: int,
    width: int,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    bboxes: NDArray[np.int64] | None = None,
) -> torch.Tensor:
    """Crop, resize and normalise (B, H, W, 3) uint8 RGB frames, on the CPU or on `device`.

    `bboxes` (B, 4) of the crops are those of `clamp_bboxes`. The images (B, 3, height, width) have
    their channels last in memory.
    """
    if device.type == "cpu":
        resized = _resize_with_opencv(frames, height, width, bboxes)
    else:
        if frames.device.type == "cpu":
            frames = frames.pin_memory()  # so that the copy does not hold up the CPU
        resized = resize_with_torch(frames.to(device, non_blocking=True), height, width, bboxes)
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


def resize_with_torch(
    frames: torch.Tensor, height: int, width: int, bboxes: NDArray[np.int64] | None
) -> torch.Tensor:
    """(B, height, width, 3) float values of 0 to 255, on the device of the frames."""
    images = frames.permute(0, 3, 1, 2)
    if bboxes is None:
        return _interpolate(images, height, width)
    crops = [
        _interpolate(images[i : i + 1, :, y : y + h, x : x + w], height, width)
        for i, (x, y, h, w) in enumerate(bboxes.tolist())
    ]
    return torch.cat(crops)


def _interpolate(images: torch.Tensor, height: int, width: int) -> torch.Tensor:
    resized = torch.nn.functional.interpolate(
        images.to(torch.float32), size=(height, width), mode="bilinear", align_corners=False
    )
    return resized.permute(0, 2, 3, 1)


@functools.lru_cache(maxsize=16)
def _normalisation(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Factor and addend that turn values of 0 to 255 into normalised ones."""
    with torch.inference_mode(False):
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (MEAN, STD))
        scale, shift = 1 / (255 * std), -mean / std
        return scale.to(device, torch.float32), shift.to(device, torch.float32)
