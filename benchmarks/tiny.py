"""What tiny sizes of benchmarks with models work on: small models and a clip.

Most of what these benchmarks take at a tiny size is importing Lightning Pose, 20 s and more a
process. So models and their networks are made once, by the process that calls `make`, and each
benchmark may be given the directory: `--tiny --project DIR`. Without it, it makes its own.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

KEYPOINTS = tuple(f"keypoint{i}" for i in range(17))
NETWORK = {"backbone": "resnet18", "height": 64, "width": 64}
CLIP = (160, 128, 40)
"""Width, height and number of frames."""


@dataclass(frozen=True)
class Project:
    """Where the parts are.

    Attributes:
        root: the directory of all.
    """

    root: Path

    @property
    def gpu(self) -> Path:
        """What `gpu.py prepare` makes: three models with their networks, and the clip."""
        return self.root / "gpu"

    @property
    def model(self) -> Path:
        return self.gpu / "member-0" / "model"

    @property
    def clip(self) -> Path:
        return self.gpu / "clip.mp4"

    @property
    def labels(self) -> Path:
        return self.root / "data"

    @property
    def cache(self) -> Path:
        """A `RAYPOSE_CACHE_DIR` that holds the networks of the models where they lie."""
        return self.root / "cache"


def make(root: Path) -> Project:
    """Make it all; imports Lightning Pose."""
    from unittest import mock

    import gpu

    from raypose.inference.artifact import cached_artifact

    project = Project(root)
    with mock.patch.dict(os.environ, RAYPOSE_CACHE_DIR=str(project.cache)):
        gpu.prepare(project.gpu, NETWORK, {project.clip.stem: CLIP}, cached_artifact)
    write_labels(project.labels)
    return project


@contextmanager
def project_at(directory: Path | None) -> Iterator[Project]:
    """The project that is in a directory, or one that is made for the occasion."""
    if directory is not None:
        yield Project(directory)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield make(Path(folder))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a benchmark of one model and one video, beside `--tiny`."""
    parser.add_argument("--model", type=Path, help="model directory of Lightning Pose")
    parser.add_argument("--video", type=Path, help="the video")
    parser.add_argument("--project", type=Path, help="with --tiny: what tiny.py made")


@contextmanager
def model_and_video(
    parser: argparse.ArgumentParser, args: argparse.Namespace
) -> Iterator[tuple[Path, Path]]:
    """The model and the video that were given, or tiny ones with their cache of networks."""
    if args.tiny:
        with project_at(args.project) as project:
            os.environ["RAYPOSE_CACHE_DIR"] = str(project.cache)
            yield project.model, project.clip
    elif args.model and args.video:
        yield args.model.resolve(), args.video.resolve()
    else:
        parser.error("give --model and --video, or --tiny")


def write_labels(folder: Path, n_frames: int = 12) -> None:
    """Labels of nothing in particular: without any, upstream ends before its metrics."""
    import cv2

    (folder / "labeled-data").mkdir(parents=True)
    n_values = 2 * len(KEYPOINTS)
    header = [
        "scorer" + ",someone" * n_values,
        "bodyparts," + ",".join(name for name in KEYPOINTS for _ in "xy"),
        "coords" + ",x,y" * len(KEYPOINTS),
    ]
    random = np.random.default_rng(0)
    rows = []
    for i in range(n_frames):
        name = f"labeled-data/img{i:02d}.png"
        cv2.imwrite(str(folder / name), random.integers(0, 255, (CLIP[1], CLIP[0], 3), np.uint8))
        rows.append(name + "".join(f",{x:.1f}" for x in random.uniform(5, 120, n_values)))
    (folder / "CollectedData.csv").write_text("\n".join([*header, *rows]) + "\n")
