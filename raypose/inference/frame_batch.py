"""A batch of decoded frames: of one video, or of the views of a recording in lockstep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Sizes = tuple[tuple[int, int], ...]
"""Rows and columns of the frames of each view."""

Boxes = tuple[NDArray[np.int64], ...]
"""For each view (B, 4) x, y, height, width of what is looked at, within the frame."""


@dataclass(frozen=True, slots=True)
class Views:
    """The same frames of one or several views.

    Attributes:
        pixels: for each view (B, H, W, 3) uint8 RGB; views may differ in height and width.
        boxes: for each view what is looked at in the frames; None for all of them.
    """

    pixels: tuple[torch.Tensor, ...]
    boxes: Boxes | None = None

    def __len__(self) -> int:
        return len(self.pixels[0])

    def part(self, start: int, stop: int) -> Views:
        """Frames `start` (included) to `stop` (excluded) of all views."""
        boxes = self.boxes
        return Views(
            tuple(view[start:stop] for view in self.pixels),
            None if boxes is None else tuple(view[start:stop] for view in boxes),
        )

    @property
    def sizes(self) -> Sizes:
        """Rows and columns of each view."""
        return tuple((view.shape[1], view.shape[2]) for view in self.pixels)
