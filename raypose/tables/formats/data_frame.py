"""A table as pandas holds what it reads from its CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from raypose.tables.keypoints import KeypointTable

if TYPE_CHECKING:
    import pandas as pd


def data_frame(table: KeypointTable, coords: Sequence[str]) -> pd.DataFrame:
    """These columns of every keypoint, in float32, under scorer, bodyparts and coords."""
    import pandas as pd

    chosen = [table.coords.index(coord) for coord in coords]
    columns = pd.MultiIndex.from_product(
        [[table.scorer], table.keypoint_names, coords], names=["scorer", "bodyparts", "coords"]
    )
    values = table.values[..., chosen].reshape(table.n_frames, len(columns))
    frame: pd.DataFrame = pd.DataFrame(values, columns=columns)
    return frame
