"""Parquet, with all columns: pandas reads it back as it reads the CSV."""

from __future__ import annotations

from pathlib import Path

from raypose.tables.formats.base import Description, Format
from raypose.tables.formats.data_frame import data_frame
from raypose.tables.keypoints import KeypointTable


def write(table: KeypointTable, path: Path, description: Description) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    content = pa.Table.from_pandas(data_frame(table, table.coords))
    # Given a path, pyarrow takes only names in UTF-8; pandas 2 makes one of an open file.
    with path.open("wb") as file:
        pyarrow.parquet.write_table(content, file)


FORMAT = Format(name="parquet", suffix=".parquet", writer=write)
