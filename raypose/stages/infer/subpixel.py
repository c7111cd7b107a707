"""Heatmaps to keypoints with sub-pixel accuracy.

Second-last station of inference: heatmaps → (x, y, likelihood) in pixels of the network's
input. The result is that of Lightning Pose's `run_subpixelmaxima`, and the way there is
shorter. Lightning Pose doubles each heatmap `downsample_factor` times (bicubic, then the 5×5
Gaussian of image pyramids with zeros beyond the border), takes a softmax at temperature 1000,
its expectation, and the mass within two pixels of it. Doubling and blurring are linear and
separable, so all of the upsampling is one matrix from the left and one from the right.

It does not scale to the frame; that is `predictor`'s.
"""

from __future__ import annotations

import functools

import torch
from torch.nn import functional

TEMPERATURE = 1000.0
# Pixels around the prediction whose mass is its likelihood: two standard deviations of the
# 1.25 pixels that Lightning Pose trains with, rounded down.
_RADIUS = 2
# The grid of the upsampled heatmap starts this far right and below of that of the input image.
_OFFSETS = {0: 0.0, 1: 0.5, 2: 1.5, 3: 2.5}
# Upsampled heatmaps that are worked on at a time, in values: what a core's cache holds.
_CHUNK_VALUES = 1 << 19


def keypoints_from_heatmaps(heatmaps: torch.Tensor, downsample_factor: int) -> torch.Tensor:
    """Sub-pixel keypoints and their likelihoods.

    Args:
        heatmaps: (B, K, h, w) float32, each with sum 1.
        downsample_factor: heatmaps are smaller than the network's input by two to this power.

    Returns:
        (B, K, 3) float32: x and y in pixels of the network's input, and the likelihood.
    """
    batch, keypoints, height, width = heatmaps.shape
    flat = heatmaps.reshape(batch * keypoints, height, width).float()
    rows = _upsampling(height, downsample_factor, flat.device.type, str(flat.device))
    columns = _upsampling(width, downsample_factor, flat.device.type, str(flat.device)).T
    if flat.device.type == "cpu":
        step = max(1, _CHUNK_VALUES // (rows.shape[0] * columns.shape[1]))
        found = torch.cat(
            [_soft_argmax(part, rows, columns) for part in torch.split(flat, step)]
            or [flat.new_empty(0, 3)]
        )
    else:
        found = _soft_argmax(flat, rows, columns)
    found[:, :2] -= _OFFSETS[downsample_factor]
    return found.reshape(batch, keypoints, 3)


def _soft_argmax(
    heatmaps: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    """(N, h, w) heatmaps → (N, 3) x, y on the upsampled grid, and the mass around them."""
    n = heatmaps.shape[0]
    height, width = rows.shape[0], columns.shape[1]
    # The left factor for all maps at once is one large product, the quickest there is.
    upsampled = torch.matmul(rows, torch.matmul(heatmaps, columns))
    flat = upsampled.view(n, height * width)
    mass = flat.sub_(flat.amax(1, keepdim=True)).mul_(TEMPERATURE).exp_()
    moments = torch.matmul(mass.view(n, height, width), _moments(width, str(mass.device)))
    per_row, x_per_row = moments.unbind(-1)
    total = per_row.sum(1)
    x = x_per_row.sum(1) / total
    y = torch.mv(per_row, _moments(height, str(mass.device))[:, 1]) / total
    likelihood = _mass_around(mass, x, y, height, width) / total
    return torch.stack((x, y, likelihood), dim=1)


def _mass_around(
    mass: torch.Tensor, x: torch.Tensor, y: torch.Tensor, height: int, width: int
) -> torch.Tensor:
    """Sum of (N, height·width) values in the square of two pixels around (x, y)."""
    reach = torch.arange(-_RADIUS, _RADIUS + 1, device=mass.device)
    # `nan_to_num`: the heatmaps of a diverged network; their likelihood is NaN in the end.
    column = x.nan_to_num().long()[:, None] + reach
    row = y.nan_to_num().long()[:, None] + reach
    inside = ((row >= 0) & (row < height))[:, :, None] & ((column >= 0) & (column < width))[
        :, None
    ]
    index = row.clamp(0, height - 1)[:, :, None] * width + column.clamp(0, width - 1)[:, None]
    values = mass.gather(1, index.flatten(1)) * inside.flatten(1)
    return values.sum(1)


@functools.lru_cache(maxsize=32)
def _moments(length: int, device: str) -> torch.Tensor:
    """(length, 2): ones, and positions; their product with values gives mass and first moment."""
    positions = torch.arange(length, dtype=torch.float32, device=device)
    return torch.stack((torch.ones_like(positions), positions), dim=1)


@functools.lru_cache(maxsize=32)
def _upsampling(length: int, doublings: int, _kind: str, device: str) -> torch.Tensor:
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
