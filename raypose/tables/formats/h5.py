"""DeepLabCut's HDF5 of a video with one animal: x, y and likelihood of every keypoint.

The file is made in memory: on a full disk PyTables writes a part of it and reports no error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raypose.tables.formats.base import Description, Format
from raypose.tables.formats.data_frame import data_frame
from raypose.tables.keypoints import COORDS, KeypointTable

_KEY = "df_with_missing"  # the name that DeepLabCut gives the table, and looks for


def write(table: KeypointTable, path: Path, description: Description) -> None:
    import pandas as pd

    in_memory: Any = {"driver": "H5FD_CORE", "driver_core_backing_store": 0}
    with pd.HDFStore("memory", mode="w", **in_memory) as store:
        store.put(_KEY, data_frame(table, COORDS), format="table", track_times=False)
        store.flush()
        handle: Any = store._handle
        path.write_bytes(handle.get_file_image())


FORMAT = Format(name="h5", suffix=".h5", writer=write, package="tables", extra="h5")
