"""Where every output file goes.

An owner of outputs is a model or the smoothed ensemble; the key of a video is its stem, below
mirrored folders where stems collide. The apps treat every CSV directly in `video_preds*` that is
no metric as the predictions of a video: everything else has a folder of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raypose.storage.paths import AnyPath
from raypose.text import shown

Layout = Literal["app", "pose-app"]

HIDDEN = ".raypose"
"""Folder beside the outputs with their records."""

CLAIMS = "claims"
"""Folder in the hidden one of an output directory: which run works on which recording."""

FOLDERS: Mapping[str, Layout] = {"video_preds": "app", "video_preds_infer": "pose-app"}
"""Folders of an owner's tables."""

METRICS = ("temporal_norm", "pca_singleview_error", "pca_multiview_error")
"""Names of the metric tables, as upstream appends them to the stem."""


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """The files of one owner and one video."""

    folder: AnyPath  # `video_preds` (or `video_preds_infer`) with the mirrored folders of the key
    stem: str  # last part of the key
    layout: Layout

    @property
    def predictions(self) -> AnyPath:
        return self.folder / f"{self.stem}.csv"

    def metric(self, name: str) -> AnyPath:
        return self.folder / f"{self.stem}_{name}.csv"

    @property
    def quality(self) -> AnyPath:
        return self.folder / f"{self.stem}_quality.json"

    @property
    def review(self) -> AnyPath:
        """What the report shows of the table."""
        return self.folder / "report" / f"{self.stem}_review.arrow"

    @property
    def labeled(self) -> AnyPath:
        if self.layout == "pose-app":
            return self.folder / f"{self.stem}.labeled.mp4"
        return self.folder / "labeled_videos" / f"{self.stem}_labeled.mp4"

    @property
    def worst(self) -> AnyPath:
        return self.folder / "worst" / f"{self.stem}_worst.csv"

    @property
    def frames(self) -> AnyPath:
        return frames_beside(self.predictions)

    @property
    def _snippets(self) -> AnyPath:
        return self.folder if self.layout == "pose-app" else self.folder / "snippets"

    @property
    def snippet(self) -> AnyPath:
        return self._snippets / f"{self.stem}.short.mp4"

    @property
    def snippet_predictions(self) -> AnyPath:
        return self._snippets / f"{self.stem}.short.csv"

    def snippet_metric(self, name: str) -> AnyPath:
        return self._snippets / f"{self.stem}.short_{name}.csv"

    @property
    def snippet_labeled(self) -> AnyPath:
        return self._snippets / f"{self.stem}.short.labeled.mp4"


def owner_root(name: str, output_dir: AnyPath | None, own_dir: AnyPath | None) -> AnyPath:
    """Directory of the outputs of a model or of `eks`: below `output_dir` (`-o`) if given, else
    its own one, the model directory or `--eks-dir`."""
    if output_dir is not None:
        return output_dir / _name_in(output_dir, name)
    assert own_dir is not None, "RunConfig asks for --eks-dir where there is no -o"
    return own_dir


def tables_folder(root: AnyPath, layout: Layout) -> AnyPath:
    return root / ("video_preds_infer" if layout == "pose-app" else "video_preds")


def output_paths(root: AnyPath, key: str, layout: Layout) -> OutputPaths:
    """The files of the video `key` of the owner whose directory is `root`."""
    parent, _, stem = _name_in(root, key).rpartition("/")
    return OutputPaths(tables_folder(root, layout) / parent, stem, layout)


def folder_of_tables(table: AnyPath) -> AnyPath:
    """The folder with all tables of the owner of this one, which may be in a folder below it."""
    return next((p for p in table.parents if p.name in FOLDERS), table.parent)


def paths_of_table(table: AnyPath) -> OutputPaths:
    """The files of the owner and video that a table of predictions is of."""
    layout = FOLDERS.get(folder_of_tables(table).name, "app")
    return OutputPaths(table.parent, table.stem, layout)


def _name_in(root: AnyPath, name: str) -> str:
    """A name that is valid below `root`: in a store, UTF-8 without control characters."""
    return name if isinstance(root, Path) else shown(name)


def smooth_params_folder(root: AnyPath) -> AnyPath:
    return root / "smooth_params"


def frames_beside(table: AnyPath) -> AnyPath:
    """The time and status of each frame of a table of predictions."""
    return table.parent / "frames" / f"{table.stem}_frames.csv"


def smooth_params_path(root: AnyPath, session: str) -> AnyPath:
    return smooth_params_folder(root) / f"{_name_in(root, session)}.json"


def points_path(root: AnyPath, session: str) -> AnyPath:
    return root / "points_3d" / f"{_name_in(root, session)}.csv"


def owner_and_key(table: str, directory: str) -> tuple[str, str] | None:
    """Owner of a table and key of its video, by its path below a directory of this name."""
    parts = table.removesuffix(".csv").split("/")
    place = next((i for i, part in enumerate(parts[:-1]) if part in FOLDERS), None)
    if place is None:
        return None
    return "/".join(parts[:place]) or directory, "/".join(parts[place + 1 :])
