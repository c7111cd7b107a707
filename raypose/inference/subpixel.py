"""Heatmaps to keypoints with sub-pixel accuracy.

The result is that of Lightning Pose's `run_subpixelmaxima`, found faster. That doubles each
heatmap `downsample_factor` times (bicubic, then the 5×5 Gaussian of image pyramids with zeros
beyond the border), takes a softmax at temperature 1000, its expectation, and the mass within two
pixels of it. Doubling and blurring are linear and separable, so all of the upsampling is one
matrix from the left and one from the right.
"""

from __future__ import annotations

import functools
import math

import torch
from torch.nn import functional

TEMPERATURE = 1000.0
# Pixels around the prediction whose mass is its likelihood: two standard deviations of the
# 1.25 pixels that Lightning Pose trains with, rounded down.
_RADIUS = 2
# The grid of the upsampled heatmap starts this far right and below of that of the input image.
_OFFSETS = {0: 0.0, 1: 0.5, 2: 1.5, 3: 2.5}
# Upsampled heatmaps that are processed at a time, in values: what a core's cache holds.
_CHUNK_VALUES = 1 << 18
# Side of the window around a clear peak, in pixels of the heatmap before upsampling: six
# standard deviations of what Lightning Pose trains for, and some room.
_WINDOW = 8
# By how many pixels everything outside the window may move a keypoint.
_NEGLIGIBLE = 1e-5


def keypoints_from_heatmaps(heatmaps: torch.Tensor, downsample_factor: int) -> torch.Tensor:
    """Sub-pixel keypoints and their likelihoods.

    Args:
        heatmaps: (B, K, h, w) float32, each with sum 1.
        downsample_factor: heatmaps are smaller than the network's input by two to this power.

    Returns:
        (B, K, 3) float32: x and y in pixels of the network's input, and the likelihood.
    """
    batch, keypoints, height, width = heatmaps.shape
    maps = heatmaps.reshape(batch * keypoints, height, width).float()
    rows = _upsampling(height, downsample_factor, str(maps.device))
    columns = _upsampling(width, downsample_factor, str(maps.device))
    window = _WINDOW << downsample_factor
    if maps.device.type != "cpu":
        # All of every map: to find out which have a clear peak would mean waiting for the GPU.
        found = _soft_argmax(maps, rows, columns)
    elif min(rows.shape[0], columns.shape[0]) <= window:
        found = _in_chunks(maps, rows, columns)
    else:
        found, clear = _soft_argmax_near_peak(maps, rows, columns, window)
        if not bool(clear.all()):
            found[~clear] = _in_chunks(maps[~clear], rows, columns)
    found[:, :2] -= _OFFSETS[downsample_factor]
    return found.reshape(batch, keypoints, 3)


def _in_chunks(maps: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    step = max(1, _CHUNK_VALUES // (rows.shape[0] * columns.shape[0]))
    parts = [_soft_argmax(part, rows, columns) for part in torch.split(maps, step)]
    return torch.cat(parts) if parts else maps.new_empty(0, 3)


def _soft_argmax(maps: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """(N, h, w) heatmaps → (N, 3) x, y on the upsampled grid, and the mass around them."""
    return _expectation(torch.matmul(rows, torch.matmul(maps, columns.T)))


def _soft_argmax_near_peak(
    maps: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, window: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 3) as `_soft_argmax` from a window around the peak, and (N,) whether that is exact.

    With A and B for the matrices `rows` and `columns`, an upsampled value is u[p, q] = sum over i,
    j of A[p, i] B[q, j] h[i, j]. So no value of row p is above L · sum over i of |A[p, i]| · max
    over j of h[i, j], where L is the largest sum over j of |B[q, j]|; the same holds for columns.
    If these bounds of all rows and columns outside the window are below the maximum within by a
    margin, the softmax has no weight there that float32 could hold.
    """
    heights = _bounds(maps.amax(2), rows, columns)
    widths = _bounds(maps.amax(1), columns, rows)
    top, left = (
        (bounds.argmax(1) - window // 2).clamp(0, bounds.shape[1] - window)
        for bounds in (heights, widths)
    )
    # (positions, window, h): every run of consecutive rows of the matrix, as a view.
    bands = rows.unfold(0, window, 1).transpose(1, 2)[top]
    sides = columns.unfold(0, window, 1)[left]
    near = torch.bmm(torch.bmm(bands, maps), sides)
    beyond = torch.maximum(
        _greatest_outside(heights, top, window), _greatest_outside(widths, left, window)
    )
    height, width = rows.shape[0], columns.shape[0]
    margin = math.log(height * width * max(height, width) / _NEGLIGIBLE) / TEMPERATURE
    clear = beyond <= near.amax((1, 2)) - margin
    found = _expectation(near)
    found[:, 0] += left
    found[:, 1] += top
    return found, clear


def _bounds(greatest: torch.Tensor, matrix: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """(N, upsampled) bounds of rows (or columns) from (N, h) maxima of those of the heatmap."""
    return torch.matmul(greatest, matrix.abs().T) * other.abs().sum(1).max()


def _greatest_outside(bounds: torch.Tensor, start: torch.Tensor, window: int) -> torch.Tensor:
    position = torch.arange(bounds.shape[1])
    inside = (position >= start[:, None]) & (position < start[:, None] + window)
    return bounds.masked_fill(inside, 0.0).amax(1)


def _expectation(upsampled: torch.Tensor) -> torch.Tensor:
    """(N, H, W) values, overwritten → (N, 3) mean x and y of their softmax, mass around them."""
    n, height, width = upsampled.shape
    mass = upsampled.view(n, height * width).mul_(TEMPERATURE).softmax(1)
    grid = mass.view(n, height, width)
    x = torch.mv(grid.sum(1), _positions(width, str(mass.device)))
    y = torch.mv(grid.sum(2), _positions(height, str(mass.device)))
    return torch.stack((x, y, _mass_around(mass, x, y, height, width)), dim=1)


def _mass_around(
    mass: torch.Tensor, x: torch.Tensor, y: torch.Tensor, height: int, width: int
) -> torch.Tensor:
    """Sum of (N, height·width) values in the square of two pixels around (x, y)."""
    reach = torch.arange(-_RADIUS, _RADIUS + 1, device=mass.device)
    # `nan_to_num` for the heatmaps of a diverged network; their likelihood becomes NaN.
    column = x.nan_to_num().long()[:, None] + reach
    row = y.nan_to_num().long()[:, None] + reach
    inside = ((row >= 0) & (row < height))[:, :, None] & ((column >= 0) & (column < width))[
        :, None
    ]
    index = row.clamp(0, height - 1)[:, :, None] * width + column.clamp(0, width - 1)[:, None]
    values = mass.gather(1, index.flatten(1)) * inside.flatten(1)
    return values.sum(1)


@functools.lru_cache(maxsize=32)
def _positions(length: int, device: str) -> torch.Tensor:
    with torch.inference_mode(False):
        return torch.arange(length, dtype=torch.float32, device=device)


@functools.lru_cache(maxsize=32)
def _upsampling(length: int, doublings: int, device: str) -> torch.Tensor:
    """The matrix (length · 2**doublings, length) that upsamples one side of a heatmap."""
    with torch.inference_mode(False), torch.no_grad():
        matrix = torch.eye(length, dtype=torch.float64)
        kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=torch.float64) / 16
        for _ in range(doublings):
            # Columns are signals, upsampled along the first dimension.
            signals = matrix.T[:, None, :, None]
            size = (2 * matrix.shape[0], 1)
            doubled = functional.interpolate(signals, size=size, mode="bicubic")
            blurred = functional.conv1d(doubled[..., 0], kernel.view(1, 1, 5), padding=2)
            matrix = blurred[:, 0].T
        return matrix.to(device=device, dtype=torch.float32).contiguous()
