"""Colours of single pixels against FFmpeg's conversion of whole pictures."""

from __future__ import annotations

import platform

import av
import numpy as np
import pytest
import torch

from raypose.inference.colours import Kind, exact_colours, frame_of_pairs
from raypose.video.pixels import RgbConverter, plane_pixels

SPACES = (0, 1, 2, 4, 5, 6, 7, 9)
KINDS = [
    *(Kind("yuv420p", 96, 64, space, range_) for space in SPACES for range_ in (0, 1, 2)),
    *(Kind("yuvj420p", 96, 64, space, 2) for space in SPACES),
]
# swscale has other code for other processors; raypose then converts whole frames.
on_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="it may round otherwise here")


@on_x86
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_colours_are_swscales(kind: Kind) -> None:
    assert exact_colours(kind) == kind.colours


@on_x86
@pytest.mark.parametrize("width", [2, 6, 16, 30, 66, 322, 1918])
def test_at_any_even_width(width: int) -> None:
    assert exact_colours(Kind("yuv420p", width, 64, 1, 1)) is not None


@pytest.mark.parametrize(
    "kind",
    [
        Kind("yuv420p", 97, 64, 2, 0),
        Kind("yuv420p", 96, 65, 2, 0),
        Kind("yuv422p", 96, 64, 2, 0),
        Kind("yuv444p", 96, 64, 2, 0),
        Kind("yuv420p10le", 96, 64, 2, 0),
        Kind("gray", 96, 64, 2, 0),
        Kind("bgr24", 96, 64, 2, 0),
        Kind("yuv420p", 96, 64, 10, 1),
    ],
    ids=str,
)
def test_other_kinds_are_left_to_swscale(kind: Kind) -> None:
    assert exact_colours(kind) is None


def test_a_difference_in_one_bit_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def off(self: RgbConverter, frame: object) -> np.ndarray:
        rgb = convert(self, frame).copy()
        rgb[-1, -1, 1] ^= 1
        return rgb

    convert = RgbConverter.__call__
    monkeypatch.setattr(RgbConverter, "__call__", off)
    assert exact_colours(Kind("yuv420p", 98, 64, 6, 1)) is None


def test_every_pair_of_two_values_occurs() -> None:
    _, values = frame_of_pairs(Kind("yuv420p", 96, 64, 1, 1))
    y, cb, cr = values[0].flatten(1).to(torch.int64)
    for one, other in ((y, cb), (y, cr), (cb, cr)):
        assert len(torch.unique(256 * one + other)) == 1 << 16


@on_x86
@pytest.mark.slow
@pytest.mark.parametrize("range_", [1, 2])
@pytest.mark.parametrize("space", [1, 6, 7, 9])
def test_all_colours_there_are(space: int, range_: int) -> None:
    kind = Kind("yuv420p", 4096, 4096, space, range_)
    frame = av.VideoFrame(4096, 4096, "yuv420p")
    frame.colorspace, frame.color_range = space, range_
    n = np.arange(1 << 22).reshape(2048, 2048)
    cb, cr = n & 255, (n >> 8) & 255
    y = np.empty((4096, 4096), np.int64)
    for i in range(4):
        y[i // 2 :: 2, i % 2 :: 2] = 4 * (n >> 16) + i
    for plane, channel in zip(frame.planes, (y, cb, cr), strict=True):
        plane_pixels(plane)[:] = channel
    expected = torch.from_numpy(RgbConverter(4096, 4096)(frame))
    for row in range(0, 4096, 512):
        half = slice(row // 2, row // 2 + 256)
        spread = [np.repeat(np.repeat(c[half], 2, 0), 2, 1) for c in (cb, cr)]
        values = np.stack([y[row : row + 512], *spread])[None].astype(np.uint8)
        found = kind.colours.to_rgb(torch.from_numpy(values))[0].permute(1, 2, 0)
        assert torch.equal(found.to(torch.uint8), expected[row : row + 512])
