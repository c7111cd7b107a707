"""Parquet, with all columns: pandas reads it back as it reads the CSV."""

from __future__ import annotations

from pathlib import Path

from raypose.tables.formats.base import Description, Format
from raypose.tables.formats.data_frame import data_frame
from raypose.tables.keypoints import KeypointTable


def write(table: KeypointTable, path: Path, description: Description) -> None:
    with path.open("wb") as file:
        data_frame(table, table.coords).to_parquet(file, engine="pyarrow")


FORMAT = Format(name="parquet", suffix=".parquet", writer=write)
