"""Tables of predictions as other tools write them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from raypose.tables.keypoints import KeypointTable


def dlc_frame(table: KeypointTable, scorer: str, animals: tuple[str, ...] = ()) -> pd.DataFrame:
    """A data frame as DeepLabCut makes it; with several animals each has the same points."""
    parts = [[scorer], *([animals] if animals else []), table.keypoint_names, table.coords]
    names = ["scorer", *(["individuals"] if animals else []), "bodyparts", "coords"]
    columns = pd.MultiIndex.from_product([list(part) for part in parts], names=names)
    values = table.values.reshape(table.n_frames, -1).astype(np.float64)
    return pd.DataFrame(np.tile(values, max(1, len(animals))), columns=columns)


def write_dlc_h5(
    table: KeypointTable, path: Path, scorer: str = "DLC_resnet50", animals: tuple[str, ...] = ()
) -> Path:
    frame = dlc_frame(table, scorer, animals)
    frame.to_hdf(path, key="df_with_missing", format="table", mode="w")
    return path


def write_dlc_csv(
    table: KeypointTable, path: Path, scorer: str = "DLC_resnet50", animals: tuple[str, ...] = ()
) -> Path:
    dlc_frame(table, scorer, animals).to_csv(path)
    return path


def write_sleap_h5(table: KeypointTable, path: Path, tracks: tuple[str, ...] = ("a",)) -> Path:
    """The analysis file of SLEAP: arrays transposed, so that frames are the last axis."""
    points = np.stack([table.xy] * len(tracks), axis=-1)  # frame, node, xy, track
    scores = np.stack([table.likelihood] * len(tracks), axis=-1)
    arrays = {
        "tracks": points,
        "point_scores": scores,
        "track_occupancy": np.ones((len(tracks), table.n_frames), np.uint8),
        "instance_scores": np.ones((table.n_frames, len(tracks))),
        "tracking_scores": np.full((table.n_frames, len(tracks)), np.nan),
    }
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array.T, compression="gzip", compression_opts=9)
        for name, names in (("node_names", table.keypoint_names), ("track_names", tracks)):
            file.create_dataset(name, data=[text.encode() for text in names])
        file.create_dataset("video_path", data="video.mp4")
    return path


def write_sleap_csv(table: KeypointTable, path: Path, tracks: tuple[str, ...] = ("",)) -> Path:
    """A row for each instance that has a point."""
    rows = []
    for track in tracks:
        for i, values in enumerate(table.values):
            if np.isnan(values[:, 0]).all():
                continue
            row = {"track": track, "frame_idx": i, "instance.score": 0.9}
            for name, (x, y, score) in zip(table.keypoint_names, values, strict=True):
                row |= {f"{name}.x": x, f"{name}.y": y, f"{name}.score": score}
            rows.append(row)
    pd.DataFrame(rows).to_csv(path, index=False)
    return path
