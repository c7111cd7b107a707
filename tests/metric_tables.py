"""Tables of metrics, read as their users do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd


def read_metric_csv(path: Path | str) -> tuple[tuple[str, ...], np.ndarray]:
    """The keypoints, and float32 values of shape (n_frames, n_keypoints)."""
    table = pd.read_csv(path, index_col=0)
    return tuple(table.columns), table.to_numpy(np.float32)
