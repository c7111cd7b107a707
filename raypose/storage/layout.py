"""Where every output file goes.

An owner of outputs is a model or the smoothed ensemble; the key of a video is its stem, below
mirrored folders where stems collide. The apps treat every CSV directly in `video_preds*` that is
no metric as the predictions of a video: everything else has a folder of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from raypose.storage.paths import AnyPath
from raypose.text import shown

Layout = Literal["app", "pose-app"]
P = TypeVar("P")

HIDDEN = ".raypose"
"""Folder beside the outputs with their records."""

CLAIMS = "claims"
"""Folder in the hidden one of an output directory: which run works on which recording."""

FOLDERS: Mapping[str, Layout] = {"video_preds": "app", "video_preds_infer": "pose-app"}
"""Folders of an owner's tables."""

METRICS = ("temporal_norm", "pca_singleview_error", "pca_multiview_error")
"""Names of the metric tables, as upstream appends them to the stem."""


@dataclass(frozen=True, slots=True)
class OutputPaths(Generic[P]):
    """The files of one owner and one video, as paths or as strings, whichever the folder is.

    A plan of many videos names hundreds of thousands of files: as strings, ten times as fast.
    """

    folder: P  # `video_preds` (or `video_preds_infer`) with the mirrored folders of the key
    stem: str  # last part of the key
    layout: Layout

    def beside(self, name: str) -> P:
        """The file of this name in the folder."""
        return _joined(self.folder, name)

    @property
    def predictions(self) -> P:
        return self.beside(f"{self.stem}.csv")

    def metric(self, name: str) -> P:
        return self.beside(f"{self.stem}_{name}.csv")

    @property
    def quality(self) -> P:
        return self.beside(f"{self.stem}_quality.json")

    @property
    def review(self) -> P:
        """What the report shows of the table."""
        return self.beside(f"report/{self.stem}_review.arrow")

    @property
    def labeled(self) -> P:
        if self.layout == "pose-app":
            return self.beside(f"{self.stem}.labeled.mp4")
        return self.beside(f"labeled_videos/{self.stem}_labeled.mp4")

    @property
    def worst(self) -> P:
        return self.beside(f"worst/{self.stem}_worst.csv")

    @property
    def frames(self) -> P:
        return self.beside(_frames_name(self.stem))

    def _snippet(self, ending: str) -> P:
        folder = "" if self.layout == "pose-app" else "snippets/"
        return self.beside(f"{folder}{self.stem}.short{ending}")

    @property
    def snippet(self) -> P:
        return self._snippet(".mp4")

    @property
    def snippet_predictions(self) -> P:
        return self._snippet(".csv")

    def snippet_metric(self, name: str) -> P:
        return self._snippet(f"_{name}.csv")

    @property
    def snippet_labeled(self) -> P:
        return self._snippet(".labeled.mp4")


def owner_root(name: str, output_dir: AnyPath | None, own_dir: AnyPath | None) -> AnyPath:
    """Directory of the outputs of a model or of `eks`: below `output_dir` (`-o`) if given, else
    its own one, the model directory or `--eks-dir`."""
    if output_dir is not None:
        return output_dir / _name_in(output_dir, name)
    assert own_dir is not None, "RunConfig asks for --eks-dir where there is no -o"
    return own_dir


def tables_folder(root: AnyPath, layout: Layout) -> AnyPath:
    return root / _tables_name(layout)


def _tables_name(layout: Layout) -> str:
    return "video_preds_infer" if layout == "pose-app" else "video_preds"


def output_paths(root: P, key: str, layout: Layout) -> OutputPaths[P]:
    """The files of the video `key` of the owner whose directory is `root`."""
    parent, _, stem = _name_in(root, key).rpartition("/")
    below = f"{_tables_name(layout)}/{parent}".rstrip("/")
    return OutputPaths(_joined(root, below), stem, layout)


def _joined(folder: P, name: str) -> P:
    place: Any = folder
    below: Any = f"{place}/{name}" if isinstance(place, str) else place / name
    joined: P = below
    return joined


def folder_of_tables(table: AnyPath) -> AnyPath:
    """The folder with all tables of the owner of this one, which may be in a folder below it."""
    return next((p for p in table.parents if p.name in FOLDERS), table.parent)


def paths_of_table(table: AnyPath) -> OutputPaths[AnyPath]:
    """The files of the owner and video that a table of predictions is of."""
    layout = FOLDERS.get(folder_of_tables(table).name, "app")
    return OutputPaths(table.parent, table.stem, layout)


def _name_in(root: Any, name: str) -> str:
    """A name that is valid below `root`: in a store, UTF-8 without control characters."""
    is_local = root.startswith("/") if isinstance(root, str) else isinstance(root, Path)
    return name if is_local else shown(name)


def smooth_params_folder(root: AnyPath) -> AnyPath:
    return root / "smooth_params"


def frames_beside(table: AnyPath) -> AnyPath:
    """The time and status of each frame of a table of predictions."""
    return table.parent / _frames_name(table.stem)


def frames_beside_name(table: str) -> str:
    """As `frames_beside`, of paths as strings."""
    folder, _, name = table.rpartition("/")
    return f"{folder}/{_frames_name(name.removesuffix('.csv'))}"


def _frames_name(stem: str) -> str:
    return f"frames/{stem}_frames.csv"


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
