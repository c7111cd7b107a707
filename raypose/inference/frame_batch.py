"""Consecutive frames on their way to the network: of one video, or of all views of a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Sizes = tuple[tuple[int, int], ...]
"""For each view the rows and columns of its frames."""

Bboxes = tuple[NDArray[np.int64], ...]
"""For each view (B, 4) x, y, height, width of the network's field of view, within the frame."""


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """The same frames of one or several views, which may differ in height and width."""

    pixels: tuple[torch.Tensor, ...]
    """For each view (B, H, W, 3) uint8 RGB."""
    bboxes: Bboxes | None = None
    """What the network sees; None for whole frames."""

    def __len__(self) -> int:
        return len(self.pixels[0])

    @property
    def sizes(self) -> Sizes:
        """Rows and columns of each view."""
        return tuple((view.shape[1], view.shape[2]) for view in self.pixels)

    def part(self, start: int, stop: int) -> FrameBatch:
        """Frames `start` (included) to `stop` (excluded) of all views."""
        pixels = tuple(view[start:stop] for view in self.pixels)
        return FrameBatch(pixels, sliced(self.bboxes, start, stop))


def sliced(bboxes: Bboxes | None, start: int, stop: int) -> Bboxes | None:
    """The bounding boxes of frames `start` (included) to `stop` (excluded) of all views."""
    return None if bboxes is None else tuple(view[start:stop] for view in bboxes)
