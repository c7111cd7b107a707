"""A table of predictions written and read back: raypose's CSV against pandas' `to_csv`.

The peer's table is what `litpose predict` writes: a frame of float64 with three header rows.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import harness
import numpy as np

from raypose.tables.keypoints import COORDS, KeypointTable, read_csv, write_csv

KEYPOINTS = tuple(f"keypoint{i}" for i in range(17))


def load(directory: Path) -> KeypointTable:
    values = np.load(directory / "values.npy")
    return KeypointTable("heatmap_tracker", KEYPOINTS, COORDS, values)


def side(name: str, directory: Path, repeats: int) -> None:
    """Runs one side in this process."""
    path = directory / f"{name}.csv"
    table = load(directory)
    if name == "raypose":
        harness.run_child(lambda: write_csv(table, path), repeats)
    elif name == "raypose-read":
        harness.run_child(lambda: read_csv(directory / "raypose.csv"), repeats)
    else:
        import pandas as pd

        columns = pd.MultiIndex.from_product(
            [[table.scorer], KEYPOINTS, COORDS], names=["scorer", "bodyparts", "coords"]
        )
        rows = table.values.reshape(table.n_frames, -1).astype(np.float64)
        frame = pd.DataFrame(rows, columns=columns)
        if name == "pandas":
            harness.run_child(lambda: frame.to_csv(path), repeats)
        else:
            source = directory / "pandas.csv"
            harness.run_child(lambda: pd.read_csv(source, header=[0, 1, 2], index_col=0), repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a small size, nothing is saved")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        side(args.side, args.directory, args.repeats)
        return
    n_frames = 500 if args.tiny else 100_000
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        values = np.random.default_rng(0).normal(200, 80, (n_frames, 17, 3)).astype(np.float32)
        np.save(directory / "values.npy", values)
        sides = {
            name: harness.run_side(__file__, name, directory, args.repeats)
            for name in ("raypose", "pandas", "raypose-read", "pandas-read")
        }
        for name in ("raypose", "pandas"):
            assert np.array_equal(read_csv(directory / f"{name}.csv").values, values), name
        sizes = {
            name: (directory / f"{name}.csv").stat().st_size for name in ("raypose", "pandas")
        }
    result = {
        "work": f"a table of {n_frames} x 51 written as CSV",
        "sides": sides,
        "file_bytes": sizes,
        "ratio": sides["pandas"]["median_s"] / sides["raypose"]["median_s"],
        "ratio_cpu": sides["pandas"]["median_cpu_s"] / sides["raypose"]["median_cpu_s"],
        "ratio_read": sides["pandas-read"]["median_s"] / sides["raypose-read"]["median_s"],
        "agreement": "both files give the same float32",
    }
    harness.report("tables", result, ("raypose", "pandas", "pyarrow", "numpy"), tiny=args.tiny)


if __name__ == "__main__":
    main()
