"""Y'CbCr to RGB, one pixel at a time, in the numbers of FFmpeg's swscale and so of OpenCV.

For 8-bit 4:2:0 pictures of even width and height swscale works pixel by pixel, in whole numbers:
a chroma value serves its four pixels. So pixels can be gathered first, and only those converted
that are needed. swscale has other code for other processors, which rounds in other ways;
`exact_colours` compares all values that matter with swscale's on this machine before anything
relies on it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from raypose.video.pixels import FULL_RANGE, RgbConverter, plane_pixels

_FORMATS = {"yuv420p", "yuvj420p"}
# What Cr adds to red, Cb to blue, and Cb and Cr take from green, in 1/65536 and limited range, by
# the number of the colour space in FFmpeg.
_BT601 = (104597, 132201, 25675, 53279)
_MATRICES = {
    1: (117489, 138438, 13975, 34925),  # BT.709
    4: (104448, 132798, 24759, 53109),  # FCC
    7: (117579, 136230, 16907, 35559),  # SMPTE 240M
    9: (110013, 140363, 12277, 42626),  # BT.2020
}


@dataclass(frozen=True, slots=True)
class Colours:
    """The factors that turn one kind of Y'CbCr into RGB; float32 holds them and all products."""

    black: float  # luma of black
    luma: float
    red_cr: float
    green_cb: float
    green_cr: float
    blue_cb: float

    @classmethod
    def of(cls, colorspace: int, *, full_range: bool) -> Colours:
        """Those of a colour space (its number in FFmpeg); an unknown one is taken for BT.601.

        Values are from 0 to 255 in full range, else from 16 to 235 (240 for chroma).
        """
        red_cr, blue_cb, green_cb, green_cr = _MATRICES.get(colorspace, _BT601)
        luma, factors = 65536, [red_cr, -green_cb, -green_cr, blue_cb]
        if full_range:
            # Division in C, towards zero.
            factors = [int(math.copysign(abs(f) * 224 // 255, f)) for f in factors]
        else:
            luma = luma * 255 // 219
        return cls(0.0 if full_range else 16.0, *map(_rounded, [luma, *factors]))

    def to_rgb(self, values: torch.Tensor) -> torch.Tensor:
        """(B, 3, …) Y, Cb and Cr as uint8 to RGB as whole numbers in float32.

        As in swscale, each product is cut off to a whole number before they are added up.
        """
        rgb = values.to(torch.float32)
        y, cb, cr = rgb.unbind(1)
        y.sub_(self.black).mul_(self.luma).floor_()
        cb.sub_(128)
        cr.sub_(128)
        green = (cb * self.green_cb).floor_().add_((cr * self.green_cr).floor_()).add_(y)
        blue = (cb * self.blue_cb).floor_().add_(y)
        torch.add(y, cr.mul_(self.red_cr).floor_(), out=y)
        cb.copy_(green)
        cr.copy_(blue)
        return rgb.clamp_(0, 255)


def _rounded(factor: int) -> float:
    """A factor in 1/65536 to one of 13 bits after the point, halves rounded up."""
    return ((factor * (1 << 13) + (1 << 15)) >> 16) / (1 << 13)


class Kind(NamedTuple):
    """What decides how swscale converts a frame."""

    pixel_format: str
    width: int
    height: int
    colorspace: int
    color_range: int

    @classmethod
    def of(cls, frame: Any) -> Kind:
        """That of a decoded frame."""
        name, space, range_ = frame.format.name, int(frame.colorspace), int(frame.color_range)
        return cls(name, frame.width, frame.height, space, range_)

    @property
    def colours(self) -> Colours:
        full_range = self.color_range == FULL_RANGE or self.pixel_format.startswith("yuvj")
        return Colours.of(self.colorspace, full_range=full_range)


@functools.lru_cache(maxsize=64)
def exact_colours(kind: Kind) -> Colours | None:
    """The colours of this kind of frame if they are swscale's in every bit; else None."""
    if kind.pixel_format not in _FORMATS or kind.width % 2 or kind.height % 2:
        return None
    frame, values = frame_of_pairs(kind)
    try:
        expected = RgbConverter(frame.width, frame.height)(frame)
    except OSError:  # colours that swscale does not know, as FFmpeg says once more for the video
        return None
    found = kind.colours.to_rgb(values).permute(0, 2, 3, 1)[0]
    return kind.colours if np.array_equal(found.numpy(), expected) else None


def frame_of_pairs(kind: Kind) -> tuple[Any, torch.Tensor]:
    """A frame in which every pair of values of two of Y, Cb and Cr occurs, and (1, 3, H, W) of it.

    It is as wide as the kind's, because the last columns may be converted by other code.
    """
    import av

    columns = kind.width // 2
    rows = -(-(1 << 16) // columns)
    frame = av.VideoFrame(kind.width, 2 * rows, kind.pixel_format)
    frame.colorspace, frame.color_range = kind.colorspace, kind.color_range
    n = np.arange(rows * columns).reshape(rows, columns)
    cb, cr = n & 255, (n >> 8) & 255
    y = np.empty((2 * rows, kind.width), np.int64)
    for i in range(4):
        # Odd factors: whatever one of the two chroma values is, the other gives any luma.
        y[i // 2 :: 2, i % 2 :: 2] = (3 * cb + 5 * cr + 64 * i) & 255
    for plane, values in zip(frame.planes, (y, cb, cr), strict=True):
        plane_pixels(plane)[:] = values
    spread = [np.repeat(np.repeat(chroma, 2, 0), 2, 1) for chroma in (cb, cr)]
    return frame, torch.from_numpy(np.stack([y, *spread])[None].astype(np.uint8))
