"""Which pixels of a frame a network's image is made from, and with what weights.

Bilinear interpolation without antialiasing reads four pixels of the frame for each pixel of the
image: the corners around its place. They are what is kept of a frame (*samples*): (3, 2, 2, h, w)
values for three channels, upper and lower row, left and right column.

The numbers are those of `cv2.resize` in every bit. OpenCV has two ways to interpolate: its own,
and that of Intel's IPP, which rounds places and sums otherwise (*fused*: product and sum are
rounded once). `opencv_way` finds out which one this machine's OpenCV takes. Tensors on a GPU are
interpolated in the same way.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


class Way(Enum):
    """How OpenCV interpolates."""

    PLAIN = "OpenCV's own"
    FUSED = "IPP's"


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """One side of an image: where each of its pixels lies among those of the frame."""

    pixels: NDArray[np.int64]  # (2, n): the pixel before, and the one behind
    part: NDArray[np.float32]  # (n,): of the way from one to the other


@functools.lru_cache(maxsize=512)
def rows_of(length: int, n: int, way: Way) -> Axis:
    """The rows of a crop of `length` rows that an image of `n` rows is made from."""
    places = (np.arange(n) + 0.5) * (1 / (n / length)) - 0.5
    if way is Way.PLAIN:
        places = places.astype(np.float32)
    before = np.floor(places)
    pixels = np.stack((before, before + 1)).astype(np.int64).clip(0, length - 1)
    return Axis(pixels, (places - before).astype(np.float32))


@functools.lru_cache(maxsize=512)
def columns_of(length: int, n: int, way: Way) -> Axis:
    """The same for columns: at the edges there is nothing to interpolate."""
    axis = rows_of(length, n, way)
    return Axis(axis.pixels, np.where(axis.pixels[0] == axis.pixels[1], np.float32(0), axis.part))


def pixels_read(
    frame: tuple[int, int], image: tuple[int, int], bboxes: NDArray[np.int64] | None, way: Way
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows (1 or B, 2, h) and columns (1 or B, 2, w) of frames that images are made from.

    Args:
        frame: rows and columns of a frame.
        image: rows and columns of an image.
        bboxes: (B, 4) x, y, height, width of the crops, within the frame; None for all of it.
        way: of interpolation.
    """
    crops = [(0, 0, *frame)] if bboxes is None else bboxes.tolist()
    rows = [y + rows_of(height, image[0], way).pixels for _, y, height, _ in crops]
    columns = [x + columns_of(width, image[1], way).pixels for x, _, _, width in crops]
    return np.stack(rows), np.stack(columns)


def parts(
    frame: tuple[int, int], image: tuple[int, int], bboxes: NDArray[np.int64] | None, way: Way
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where images lie between those rows, (1 or B, h), and those columns, (1 or B, w)."""
    crops = [(0, 0, *frame)] if bboxes is None else bboxes.tolist()
    rows = np.stack([rows_of(height, image[0], way).part for *_, height, _ in crops])
    columns = np.stack([columns_of(width, image[1], way).part for *_, width in crops])
    return torch.from_numpy(rows), torch.from_numpy(columns)


def as_coded(rows: Any, columns: Any, frame: tuple[int, int], turns: int) -> tuple[Any, Any]:
    """The same corners as rows and columns of the coded frame, before it is turned.

    Args:
        rows: (…, 2, h) of the frame as it is shown.
        columns: (…, 2, w) of the frame as it is shown.
        frame: rows and columns of the frame as it is shown.
        turns: quarter turns, clockwise, from the coded frame to the one that is shown.

    Returns:
        Both together broadcast to (…, 2, 2, h, w).
    """
    down, across = rows[..., :, None, :, None], columns[..., None, :, None, :]
    height, width = frame
    if turns == 1:
        return width - 1 - across, down
    if turns == 2:
        return height - 1 - down, width - 1 - across
    if turns == 3:
        return across, height - 1 - down
    return down, across


@dataclass(frozen=True, slots=True)
class Plane:
    """How one channel of a coded frame lies in memory, in bytes."""

    stride: int  # from one row to the next
    step: int = 1  # from one column to the next
    start: int = 0
    halved: bool = False  # a value serves two rows and two columns

    def index(self, row: Any, column: Any) -> Any:
        """Where pixels of the coded frame lie: (…, 2, 2, h, w)."""
        if self.halved:
            row, column = row >> 1, column >> 1
        return row * self.stride + (column * self.step + self.start)


def rgb_planes(width: int) -> tuple[Plane, ...]:
    """RGB frames of that many columns."""
    return tuple(Plane(3 * width, 3, channel) for channel in range(3))


def interpolate(
    samples: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, way: Way
) -> torch.Tensor:
    """(B, 3, h, w) images of (B, 3, 2, 2, h, w) samples in float32, which are overwritten.

    `rows` (1 or B, h) and `columns` (1 or B, w) are those of `parts`.
    """
    left, right = samples.unbind(3)
    upper, lower = _between(left, right, columns[:, None, None, None], way).unbind(2)
    return _between(upper, lower, rows[:, None, :, None], way)


def _between(
    before: torch.Tensor, behind: torch.Tensor, part: torch.Tensor, way: Way
) -> torch.Tensor:
    if way is Way.FUSED:
        # torch rounds once here where the processor can.
        return before.addcmul_(behind.sub_(before), part)
    return before.mul_(1 - part).add_(behind.mul_(part))


def gather(flat: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Values of (B, n) frames at an index (1 or B, …): (B, …)."""
    every = index.flatten(1).expand(len(flat), -1)
    return torch.gather(flat, 1, every).view(len(flat), *index.shape[1:])


@functools.cache
def opencv_way() -> Way | None:
    """The way of interpolation that gives the numbers of this machine's OpenCV in every bit."""
    return next(filter(is_opencvs, Way), None)


def is_opencvs(way: Way) -> bool:
    """Whether this way gives OpenCV's numbers, on frames of noise."""
    import cv2

    generator = np.random.default_rng(0)
    for frame, image in (((90, 251), (32, 48)), ((37, 41), (96, 96)), ((324, 576), (384, 384))):
        pixels = generator.integers(0, 256, (*frame, 3)).astype(np.float32)
        expected = cv2.resize(pixels, image[::-1], interpolation=cv2.INTER_LINEAR)
        rows, columns = (values[0] for values in pixels_read(frame, image, None, way))
        corners = np.moveaxis(pixels[as_coded(rows, columns, frame, 0)], -1, 0)
        samples = torch.from_numpy(corners.copy())[None]
        found = interpolate(samples, *parts(frame, image, None, way), way)[0].permute(1, 2, 0)
        if not np.array_equal(found.numpy(), expected):
            return False
    return True
