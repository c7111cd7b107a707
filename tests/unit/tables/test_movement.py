"""What raypose writes, as `movement` loads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raypose.tables.keypoints import COORDS, EKS_COORDS, KeypointTable, write_csv
from tests.unit.tables.test_formats import MISSING, N_FRAMES, make_table, write

pytest.importorskip("movement")


def arrays(loaded: Any, table: KeypointTable) -> tuple[Any, Any]:
    """Positions (n_frames, n_keypoints, 2) and confidences in the order of the table."""
    keypoints = next(name for name in loaded.position.dims if name.startswith("keypoint"))
    chosen = loaded.squeeze([name for name in loaded.dims if name.startswith("individual")])
    chosen = chosen.sel({keypoints: list(table.keypoint_names)})
    position = chosen.position.transpose("time", keypoints, "space")
    return position.values, chosen.confidence.transpose("time", keypoints).values


@pytest.mark.parametrize("coords", [COORDS, EKS_COORDS])
@pytest.mark.parametrize("name", ["h5", "slp", "nwb"])
def test_movement_loads_predictions_and_smoothed_tables(
    name: str, coords: tuple[str, ...], tmp_path: Path
) -> None:
    from movement.io import load_poses

    table = make_table(coords)
    path = write(table, name, tmp_path)
    readers = {
        "h5": load_poses.from_dlc_file,
        "slp": load_poses.from_sleap_file,
        "nwb": load_poses.from_nwb_file,
    }
    position, confidence = arrays(readers[name](path), table)
    assert len(position) == N_FRAMES and np.isnan(position[list(MISSING)]).all()
    assert np.array_equal(position, table.xy, equal_nan=True)
    seen = ~np.isnan(table.xy[..., 0])
    assert np.array_equal(confidence[seen], table.likelihood[seen])


def test_movement_loads_the_csv_of_a_model(tmp_path: Path) -> None:
    from movement.io import load_poses

    table = make_table(COORDS)
    write_csv(table, tmp_path / "cam.csv")
    position, _ = arrays(load_poses.from_lp_file(tmp_path / "cam.csv"), table)
    # pandas reads float64; the text has as many digits as float32 needs.
    assert np.array_equal(position.astype(np.float32), table.xy, equal_nan=True)
