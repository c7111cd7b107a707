"""From the user's arguments to tables of predictions, named by their videos.

Tables are Lightning Pose's, called by their videos, below a model directory's `video_preds` or
anywhere; DeepLabCut's, whose names end in what made them; SLEAP's, whose names are the project's
and the video's. Only the first bytes of a file are looked at.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from raypose.errors import RayposeError, UsageError
from raypose.inputs.suffixes import VIDEO_SUFFIXES
from raypose.storage import local_path
from raypose.storage.layout import METRICS
from raypose.tables import TableLook, look_at_table
from raypose.tables.keypoints import EKS_SCORER

SUFFIXES = (".csv", ".h5")
FOLDERS = ("video_preds", "video_preds_infer")
"""Where a model directory has its predictions."""

_NOT_TABLES = {"labeled_videos", "snippets", "worst", "frames", "timestamps"}
_METRIC = re.compile(rf"_({'|'.join(METRICS)}|pca_.+_error)$")
_DLC = re.compile(r"^(?P<video>.+?)(?P<rest>(DLC|DeepCut)_.+)$")
_SLEAP_PROJECT = re.compile(r"^(?P<rest>.+\.\d{3}_)(?P<video>.+)$")
_FILTERED = "_filtered"


@dataclass(frozen=True, slots=True)
class FoundTable:
    path: Path  # absolute
    folder: Path  # the model directory, or the directory that it lies in
    key: str  # the stem of its video, with the folders below `video_preds`
    label: str = ""  # what its name says beside the video's (`DLC_resnet50_…`)


@dataclass(frozen=True, slots=True)
class FoundTables:
    """What was found, each once, in order, and `(path, reason)` of what is no table."""

    tables: tuple[FoundTable, ...]
    excluded: tuple[tuple[Path, str], ...] = ()


def find_tables(arguments: Sequence[str]) -> FoundTables:
    """The tables that files, directories and globs stand for, each once, in order.

    Of a model directory those in its `video_preds` or `video_preds_infer`, at all depths; of
    another directory those directly in it. Of a table as CSV and as HDF5 the CSV is taken, of one
    of DeepLabCut's and its filtered one the former.

    Raises:
        UsageError: an argument stands for nothing, or all of them for no table.
    """
    tables: dict[Path, FoundTable] = {}
    excluded: dict[Path, str] = {}
    for argument in arguments:
        files = list(dict.fromkeys(_expand(argument)))
        for path in files:
            if path in tables or path in excluded:
                continue
            try:
                look = look_at_table(path)
            except (RayposeError, OSError):
                look = TableLook("")  # damaged: what reads it will say so, in its place
            if look is None:
                excluded[path] = "is no table of predictions"
            elif look.scorer == EKS_SCORER:
                excluded[path] = "is smoothed already"
            else:
                tables[path] = _named(path, look)
        if not files:
            excluded[Path(os.path.abspath(os.path.expanduser(argument)))] = "holds no table"
    if not tables:
        raise UsageError("no table of predictions there", path=argument, hint=_hint(argument))
    doubles = _doubles(list(tables.values()))
    kept = tuple(table for path, table in tables.items() if path not in doubles)
    return FoundTables(kept, (*excluded.items(), *doubles.items()))


def _hint(argument: str) -> str:
    folder = Path(os.path.expanduser(argument))
    if below := sorted(p.parent.name for name in FOLDERS for p in folder.glob(f"*/{name}")):
        return f"Give the model directories in it: {', '.join(below[:5])}."
    kinds = "tables of Lightning Pose, DeepLabCut or SLEAP (.csv, .h5)"
    return f"Give {kinds}, directories or globs of them, or model directories."


def _expand(argument: str) -> Iterable[Path]:
    path = Path(os.path.expanduser(argument))
    if os.path.exists(path):
        return _below(Path(os.path.abspath(path)))
    if local_path(argument) is None:
        message = "tables are read from a file system, not from a store"
        raise UsageError(message, path=argument, hint="Copy them to a disk first.")
    if not glob.has_magic(argument):
        raise UsageError("no such file or directory", path=argument, hint="Check the path.")
    matches = sorted(Path(os.path.abspath(p)) for p in glob.glob(str(path), recursive=True))
    fitting = [p for p in matches if p.is_dir() or _may_be_table(p, p.parent)]
    return [file for match in fitting for file in _below(match)]


def _below(path: Path) -> list[Path]:
    """The files that a path stands for: itself, or those in it that may be tables."""
    if not path.is_dir():
        return [path]
    places = [path / name for name in FOLDERS if (path / name).is_dir()]
    if not places and path.name not in FOLDERS:
        return sorted(p for p in path.iterdir() if _may_be_table(p, path))
    pairs = [(place, file) for place in places or [path] for file in sorted(place.rglob("*"))]
    return [file for place, file in pairs if _may_be_table(file, place)]


def _may_be_table(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    is_hidden = any(part.startswith(".") for part in parts)
    is_other = _NOT_TABLES & set(parts[:-1]) or _METRIC.search(path.stem)
    if path.suffix.lower() not in SUFFIXES or is_hidden or is_other or not path.is_file():
        return False
    # The Pose-app has snippets beside the whole tables.
    whole = path.stem.removesuffix(".short")
    return whole == path.stem or not path.with_name(whole + path.suffix).exists()


def _named(path: Path, look: TableLook) -> FoundTable:
    video, label = _video_of(path.stem, look)
    base = next((parent for parent in path.parents if parent.name in FOLDERS), None)
    if base is None:
        return FoundTable(path, path.parent, video, label)
    folders = path.parent.relative_to(base).parts
    return FoundTable(path, base.parent, "/".join((*folders, video)), label)


def _video_of(stem: str, look: TableLook) -> tuple[str, str]:
    """Stem of the video, and the rest of the table's name."""
    if look.video and look.video in stem:
        return look.video, stem.replace(look.video, "", 1)
    plain = stem.removesuffix(_FILTERED)
    if look.scorer and plain.endswith(look.scorer) and plain != look.scorer:
        return plain.removesuffix(look.scorer), stem[len(plain) - len(look.scorer) :]
    foreign = not look.scorer or look.scorer.startswith(("DLC", "DeepCut"))
    if foreign and (match := _DLC.match(stem)):
        return match["video"], match["rest"]
    bare = stem.removesuffix(".analysis")
    if look.scorer != "sleap" and bare == stem:
        return stem, ""
    match = _SLEAP_PROJECT.match(bare)
    video = match["video"] if match else bare.removesuffix(".predictions")
    for suffix in VIDEO_SUFFIXES:
        video = video.removesuffix(suffix)
    return video, stem.replace(video, "", 1)


def _doubles(tables: Sequence[FoundTable]) -> dict[Path, str]:
    """All but one file of each table that was found twice, and why."""
    known = {(t.folder, t.key, t.label, t.path.suffix.lower()) for t in tables}
    doubles = {}
    for table in tables:
        same = (table.folder, table.key)
        plain = table.label.removesuffix(_FILTERED)
        if table.path.suffix.lower() != ".csv" and (*same, table.label, ".csv") in known:
            doubles[table.path] = "is there as CSV too"
        elif plain != table.label and any((*same, plain, suffix) in known for suffix in SUFFIXES):
            doubles[table.path] = "is there unfiltered too"
    return doubles
