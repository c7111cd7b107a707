"""Frames to the images that a network takes.

Station of inference between decoding and the network: uint8 RGB frames → resized, normalised
float images. The numbers are those of Lightning Pose: values divided by 255, bilinear
interpolation without antialiasing, then mean and standard deviation of ImageNet. On the CPU
OpenCV resizes, which gives the same numbers as `torch.nn.functional.interpolate` within
rounding in a third of its time; on a GPU torch does.

Bounding boxes are cropped here, as Lightning Pose's `crop_and_resize_frames` does it.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def prepare_images(
    frames: torch.Tensor,
    height: int,
    width: int,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    boxes: NDArray[np.int64] | None = None,
) -> torch.Tensor:
    """Resize and normalise frames.

    Args:
        frames: (B, H, W, 3) uint8 RGB, on the CPU or on `device`.
        height: rows of the images.
        width: columns of the images.
        device: where the images shall be.
        dtype: of the images.
        boxes: (B, 4) x, y, height and width of what is cropped, within the frame
            (`clamp_boxes`); None for whole frames.

    Returns:
        (B, 3, height, width) images, channels last in memory.
    """
    if device.type == "cpu":
        resized = _resize_on_cpu(frames, height, width, boxes)
    else:
        resized = _resize_on_gpu(_to_gpu(frames, device), height, width, boxes)
    scale, shift = _normalisation(str(device))
    return resized.mul_(scale).add_(shift).permute(0, 3, 1, 2).to(dtype)


def clamp_boxes(
    boxes: NDArray[np.float64], frame_height: int, frame_width: int
) -> NDArray[np.int64]:
    """Bounding boxes within the frame, at least one pixel large.

    Args:
        boxes: (B, 4) x, y, height, width in pixels; cut to whole pixels, as upstream does.
        frame_height: rows of the frame.
        frame_width: columns of the frame.

    Returns:
        (B, 4) x, y, height, width.
    """
    # Halves of a box are cut towards zero, as `int` does.
    x, y, h, w = (boxes[:, i].astype(np.int64) for i in range(4))
    x1, y1 = np.clip(x, 0, frame_width - 1), np.clip(y, 0, frame_height - 1)
    x2 = np.maximum(x1 + 1, np.minimum(frame_width, x + w))
    y2 = np.maximum(y1 + 1, np.minimum(frame_height, y + h))
    return np.stack((x1, y1, y2 - y1, x2 - x1), axis=1)


def _resize_on_cpu(
    frames: torch.Tensor, height: int, width: int, boxes: NDArray[np.int64] | None
) -> torch.Tensor:
    pixels = frames.numpy()
    resized = np.empty((len(pixels), height, width, 3), np.float32)
    for i, frame in enumerate(pixels):
        if boxes is not None:
            x, y, h, w = boxes[i]
            frame = frame[y : y + h, x : x + w]
        # In floating point: OpenCV would round the interpolated values of integers.
        cv2.resize(
            frame.astype(np.float32), (width, height), resized[i], interpolation=cv2.INTER_LINEAR
        )
    return torch.from_numpy(resized)


def _to_gpu(frames: torch.Tensor, device: torch.device) -> torch.Tensor:
    if frames.device.type == "cpu":
        # From pinned memory the copy does not hold up the CPU.
        frames = frames.pin_memory()
    return frames.to(device, non_blocking=True)


def _resize_on_gpu(
    frames: torch.Tensor, height: int, width: int, boxes: NDArray[np.int64] | None
) -> torch.Tensor:
    """Also right on the CPU, where tests compare it with the other way."""
    images = frames.permute(0, 3, 1, 2)
    if boxes is None:
        return _interpolate(images, height, width)
    crops = [
        _interpolate(images[i : i + 1, :, y : y + h, x : x + w], height, width)
        for i, (x, y, h, w) in enumerate(boxes.tolist())
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
        mean = torch.tensor(MEAN, dtype=torch.float64)
        std = torch.tensor(STD, dtype=torch.float64)
        scale, shift = 1 / (255 * std), -mean / std
        return scale.to(device, torch.float32), shift.to(device, torch.float32)
