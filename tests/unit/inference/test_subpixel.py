"""The sub-pixel step against Lightning Pose's own, and the short way against the long one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from raypose.inference import subpixel
from raypose.inference.subpixel import keypoints_from_heatmaps


def heatmaps(sharpness: float, height: int = 32, width: int = 32, seed: int = 0) -> torch.Tensor:
    """(4, 5, height, width) softmaxes of noise: flat at 0, one or two peaks from about 8 on."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 5, height, width, generator=generator) * sharpness
    return logits.flatten(2).softmax(-1).view(4, 5, height, width)


def gaussians(height: int, width: int, n: int = 200, seed: int = 0) -> torch.Tensor:
    """(n, 1, height, width) peaks as models are trained to give, anywhere, also at borders."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 1, 1, generator=generator) * (width - 1)
    y = torch.rand(n, 1, 1, generator=generator) * (height - 1)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    maps = torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * 1.25**2))
    return (maps / maps.sum((1, 2), keepdim=True))[:, None]


def upstream(maps: torch.Tensor, downsample_factor: int) -> torch.Tensor:
    from lightning_pose.models.heads.heatmap import run_subpixelmaxima

    xy, confidence = run_subpixelmaxima(maps.clone(), downsample_factor, torch.tensor(1000.0))
    return torch.cat((xy.view(*confidence.shape, 2), confidence[..., None]), dim=-1)


@pytest.mark.parametrize("downsample_factor", [1, 2, 3])
@pytest.mark.parametrize("size", [(32, 32), (24, 40), (16, 16)])
def test_agrees_with_lightning_pose(size: tuple[int, int], downsample_factor: int) -> None:
    for maps in (heatmaps(3, *size), heatmaps(8, *size), heatmaps(20, *size), gaussians(*size)):
        expected = upstream(maps, downsample_factor)
        got = keypoints_from_heatmaps(maps, downsample_factor)
        confident = expected[..., 2] > 0.1
        difference = (got - expected).abs()
        assert difference[..., :2][confident].max() < 1e-3
        assert difference[..., 2].max() < 1e-4


@pytest.mark.parametrize("downsample_factor", [1, 2, 3])
def test_flat_heatmaps_are_centred(downsample_factor: int) -> None:
    got = keypoints_from_heatmaps(heatmaps(0.0, 16, 24), downsample_factor)
    expected = upstream(heatmaps(0.0, 16, 24), downsample_factor)
    # So far from a peak Lightning Pose itself is only exact to its rounding.
    assert (got - expected).abs().max() < 5e-3


@pytest.mark.parametrize("downsample_factor", [1, 2, 3])
@pytest.mark.parametrize("sharpness", [0.0, 0.5, 2, 3, 4, 6, 8, 12, 30])
def test_window_is_used_only_where_it_says_it_all(
    sharpness: float, downsample_factor: int
) -> None:
    maps = heatmaps(sharpness, 32, 48, seed=int(10 * sharpness)).flatten(0, 1)
    rows = subpixel._upsampling(32, downsample_factor, "cpu")
    columns = subpixel._upsampling(48, downsample_factor, "cpu")
    window = subpixel._WINDOW << downsample_factor
    near, clear = subpixel._soft_argmax_near_peak(maps, rows, columns, window)
    whole = subpixel._soft_argmax(maps, rows, columns)
    assert ((near - whole)[clear].abs() < 5e-4).all()


def test_window_serves_trained_peaks() -> None:
    maps = gaussians(64, 64).flatten(0, 1)
    matrix = subpixel._upsampling(64, 2, "cpu")
    _, clear = subpixel._soft_argmax_near_peak(maps, matrix, matrix, 32)
    assert clear.float().mean() > 0.9


def test_two_equal_peaks_are_not_a_clear_one() -> None:
    maps = torch.zeros(1, 1, 32, 32)
    maps[..., 4, 4] = maps[..., 25, 25] = 0.5
    got = keypoints_from_heatmaps(maps, 2)
    torch.testing.assert_close(got, upstream(maps, 2), atol=1e-3, rtol=0)


def test_a_diverged_network_gives_nan() -> None:
    maps = gaussians(32, 32, n=3)
    maps[1] = torch.nan
    got = keypoints_from_heatmaps(maps, 2)
    assert got[1].isnan().all()
    assert not got[[0, 2]].isnan().any()


def test_nothing_in_nothing_out() -> None:
    assert keypoints_from_heatmaps(torch.empty(0, 5, 32, 32), 2).shape == (0, 5, 3)


def test_upsampling_matrix_is_what_torch_interpolates() -> None:
    signal = torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    doubled = nn.functional.interpolate(signal.view(1, 1, 7, 1), size=(14, 1), mode="bicubic")
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    expected = np.convolve(doubled.flatten().numpy(), kernel, mode="same")
    got = subpixel._upsampling(7, 1, "cpu").double() @ signal
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)
