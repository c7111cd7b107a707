"""The files of the demo's project: videos, their true keypoints, and labelled frames.

The labelled frames come from other recordings, so that training sees no frame of the videos. Each
file has a record of how it was made (`commits`), and is redone only if it is missing or changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raypose import __version__, storage
from raypose.demo import figure
from raypose.errors import UsageError
from raypose.storage import commits, digests, records
from raypose.tables.keypoints import COORDS, KeypointTable, write_csv

METHOD = 3
"""Version of the project; raised when figure, files or training change."""
MARK = "demo.json"
"""The file that marks a demo's directory."""
N_VIDEOS = 4
N_FRAMES = 100
N_RECORDINGS = 8
LABELS_EACH = 20
_LABEL_EVERY = 20
LABELS_PROVENANCE: dict[str, Any] = {
    "kind": "demo labels",
    "method": METHOD,
    "recordings": N_RECORDINGS,
    "labels_each": LABELS_EACH,
}


@dataclass(frozen=True, slots=True)
class Project:
    """The paths of a demo's project, below an absolute directory."""

    directory: Path

    @property
    def video_dir(self) -> Path:
        return self.directory / "videos"

    @property
    def videos(self) -> list[Path]:
        return [self.video_dir / f"mouse_{i + 1}.mp4" for i in range(N_VIDEOS)]

    def truth(self, stem: str) -> Path:
        """The table of a video's true keypoints."""
        return self.directory / "truth" / f"{stem}.csv"

    @property
    def labels(self) -> Path:
        return self.directory / "CollectedData.csv"

    def model(self, seed: int) -> Path:
        """The model directory of an ensemble member."""
        return self.directory / "models" / f"seed-{seed}"

    @property
    def outputs(self) -> Path:
        return self.directory / "outputs"


def claim(directory: Path) -> Project:
    """Mark a new or empty absolute directory, or one of an earlier demo, as the demo's."""
    hint = "Name another directory: raypose demo DIR"
    if directory.exists() and not directory.is_dir():
        raise UsageError("is a file, not a directory for the demo", path=directory, hint=hint)
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / MARK).is_file():
        if any(directory.iterdir()):
            raise UsageError("holds files that are not the demo's", path=directory, hint=hint)
        mark = {"made_by": "raypose demo", "raypose": __version__, "method": METHOD}
        storage.write_text(directory / MARK, json.dumps(mark, indent=1))
    return Project(directory)


def make_videos(project: Project, on_progress: Callable[[float], None]) -> None:
    """Make missing videos and their true keypoints.

    A video with its own record would count as an output of raypose, and never as an input. So the
    record of its true keypoints describes it.
    """
    for seed, path in enumerate(project.videos):
        provenance = {"kind": "demo video", "method": METHOD, "seed": seed, "frames": N_FRAMES}
        truth = project.truth(path.stem)
        found = records.check(truth, provenance)
        if found.done and path.is_file():
            if (found.stats or {}).get("video") == digests.digest_of_file(path):
                continue
        poses = figure.walk(N_FRAMES, seed)
        stats: dict[str, Any] = {}
        with commits.committing(truth, provenance, stats=stats) as temporary:
            values = np.ones((len(poses), len(figure.KEYPOINTS), 3), np.float32)
            values[..., :2] = [figure.keypoints(pose) for pose in poses]
            write_csv(KeypointTable("truth", figure.KEYPOINTS, COORDS, values), temporary)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.stem}.part.mp4")
            _encode(part, poses, figure.floor(seed))
            os.replace(part, path)
            stats["video"] = digests.digest_of_file(path)
        on_progress((seed + 1) / (N_VIDEOS + 1))  # the labels count as one more


def _encode(path: Path, poses: list[figure.Pose], ground: figure.Picture) -> None:
    import av

    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream: Any = container.add_stream(
            "libx264", rate=figure.FPS, options={"preset": "veryfast", "crf": "18"}
        )
        stream.width = stream.height = figure.SIZE
        stream.pix_fmt = "yuv420p"
        for pose in poses:
            frame = av.VideoFrame.from_ndarray(figure.draw(pose, ground), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def make_labels(project: Project) -> None:
    """Make missing labelled frames: pictures below `labeled-data/`, and `CollectedData.csv`."""
    import cv2
    import pandas as pd

    names = [
        f"labeled-data/other_{recording + 1}/img{i:08d}.png"
        for recording in range(N_RECORDINGS)
        for i in range(LABELS_EACH)
    ]
    there = all((project.directory / name).is_file() for name in names)
    if there and records.check(project.labels, LABELS_PROVENANCE).done:
        return
    labels: list[figure.FloatArray] = []
    # The table is committed after the pictures that it names: it is the sign that all are there.
    for seed in range(100, 100 + N_RECORDINGS):
        ground = figure.floor(seed)
        for pose in figure.walk(_LABEL_EVERY * LABELS_EACH, seed)[::_LABEL_EVERY]:
            path = project.directory / names[len(labels)]
            path.parent.mkdir(parents=True, exist_ok=True)
            _, png = cv2.imencode(".png", figure.draw(pose, ground)[..., ::-1])
            path.write_bytes(png.tobytes())
            labels.append(figure.keypoints(pose).ravel())
    columns = pd.MultiIndex.from_product(
        [["truth"], figure.KEYPOINTS, ["x", "y"]], names=["scorer", "bodyparts", "coords"]
    )
    with commits.committing(project.labels, LABELS_PROVENANCE) as temporary:
        pd.DataFrame(labels, names, columns).to_csv(temporary, float_format="%.3f")
