"""DeepLabCut's HDF5 of a video with one animal: x, y and likelihood of every keypoint."""

from __future__ import annotations

from pathlib import Path

from raypose.tables.formats.base import Description, Format
from raypose.tables.formats.data_frame import data_frame
from raypose.tables.keypoints import COORDS, KeypointTable

_KEY = "df_with_missing"  # the name that DeepLabCut gives the table, and looks for


def write(table: KeypointTable, path: Path, description: Description) -> None:
    data_frame(table, COORDS).to_hdf(path, key=_KEY, format="table", mode="w")


FORMAT = Format(name="h5", suffix=".h5", write=write, package="tables", extra="h5")
