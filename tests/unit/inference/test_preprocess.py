"""Resizing and cropping against torch and Lightning Pose."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from raypose.inference.preprocess import RgbFrames, clamp_bboxes, prepare_images
from tests.unit.inference.conftest import smooth_frames, upstream_images

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("frame", "image"),
    [
        ((406, 396), (128, 128)),
        ((256, 256), (128, 128)),  # OpenCV averages areas when halving; the numbers are the same
        ((480, 640), (256, 384)),
        ((64, 64), (64, 64)),
        ((50, 70), (128, 96)),
        ((1, 1), (8, 8)),
    ],
)
def test_same_numbers_as_lightning_pose(frame: tuple[int, int], image: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 256, (2, *frame, 3)).astype(np.uint8)
    got = prepare_images(RgbFrames(torch.from_numpy(frames)), *image, device=CPU)
    assert got.is_contiguous(memory_format=torch.channels_last)
    # On white noise the positions between pixels, which differ by rounding, show most.
    torch.testing.assert_close(got, upstream_images(frames, *image), atol=5e-4, rtol=0)


def test_boxes_as_lightning_pose_crops_them() -> None:
    from lightning_pose.data.bboxes import crop_and_resize_frames

    frames = smooth_frames(5, 90, 120)
    rows = np.array(
        [
            [10, 20, 30, 40],
            [-5, -8, 40, 40],
            [100, 70, 50, 50],
            [10.9, 3.7, 20.6, 9.2],
            [5, 5, 0, 0],
        ]
    )
    unresized = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    table = pd.DataFrame(rows, columns=["x", "y", "h", "w"])
    expected, used = crop_and_resize_frames((unresized - mean) / std, table, [64, 64])
    boxes = clamp_bboxes(rows, 90, 120)
    np.testing.assert_array_equal(boxes, used.numpy())
    got = prepare_images(RgbFrames(torch.from_numpy(frames)), 64, 64, device=CPU, bboxes=boxes)
    torch.testing.assert_close(got, expected, atol=5e-5, rtol=0)
