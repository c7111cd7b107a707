"""From what the user wrote to the videos of a run: found, named and looked into.

`find_videos` turns files, directories and globs into paths; `name_videos` gives each the key of
its outputs; `inspect_videos` indexes and fingerprints them, side by side. A video that can't be
used becomes a problem with a name, and the others go on. No frame is decoded here.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from raypose import storage
from raypose.errors import Failure, RayposeError, UsageError, VideoError
from raypose.inputs.preflight import VideoFormat, look_into
from raypose.storage import AnyPath, as_path
from raypose.tasks import VideoSpec

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv")


@dataclass(frozen=True, slots=True)
class FoundVideo:
    """A video file, and the directory that the user gave for it.

    Attributes:
        path: absolute path or URL.
        root: the directory that was searched, or the file's own directory.
    """

    path: AnyPath
    root: AnyPath


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the look into a video came to.

    Attributes:
        path: absolute path or URL.
        key: key of its outputs.
        spec: the video, None where it can't be used.
        error: why not.
        notes: what is odd about it, and what raypose does about that.
        keyframes: frames at which the video can be cut.
        format: how its frames are coded and timed; None where it can't be used.
    """

    path: AnyPath
    key: str
    spec: VideoSpec | None
    error: RayposeError | None = None
    notes: tuple[str, ...] = ()
    keyframes: tuple[int, ...] = field(default=(), repr=False)
    format: VideoFormat | None = None


def find_videos(arguments: Sequence[str], *, recursive: bool = False) -> list[FoundVideo]:
    """The videos that files, directories, globs and URLs stand for, each once, in order.

    A file that is named is taken whatever its suffix; in directories and globs only videos by
    suffix, in any case, and no hidden files.

    Raises:
        UsageError: an argument stands for nothing.
        StorageError: a store can't be asked.
    """
    found: dict[str, FoundVideo] = {}
    for argument in arguments:
        matches = list(_expand(argument, recursive))
        if not matches:
            raise UsageError(
                "no video there",
                path=argument,
                hint=f"Give files, directories or globs of {', '.join(SUFFIXES)}"
                + ("" if recursive else "; --recursive searches directories at all depths"),
            )
        for video in matches:
            found.setdefault(str(video.path), video)
    return list(found.values())


def _expand(argument: str, recursive: bool) -> Iterable[FoundVideo]:
    if storage.is_url(argument):
        return _expand_url(argument, recursive)
    if argument.startswith("file://"):
        argument = str(as_path(argument))
    # `Path.expanduser` raises for names that merely begin with a tilde.
    path = Path(os.path.expanduser(argument))
    if os.path.isdir(path):
        root = Path(os.path.abspath(path))
        candidates = root.rglob("*") if recursive else root.iterdir()
        return [FoundVideo(p, root) for p in sorted(candidates) if _is_video(p, root)]
    if os.path.exists(path):
        absolute = Path(os.path.abspath(path))
        return [FoundVideo(absolute, absolute.parent)]
    if not glob.has_magic(argument):
        raise UsageError("no such file or directory", path=argument, hint="Check the path.")
    matches = [Path(os.path.abspath(p)) for p in glob.glob(str(path), recursive=True)]
    videos = sorted(p for p in matches if p.is_file() and _is_video(p, p.parent))
    if not videos:
        return []
    root = Path(os.path.commonpath([p.parent for p in videos]))
    return [FoundVideo(p, root) for p in videos]


def _expand_url(argument: str, recursive: bool) -> Iterable[FoundVideo]:
    url = as_path(argument)
    assert not isinstance(url, Path)
    if glob.has_magic(argument) and not storage.exists(url):
        paths = storage.glob_files(url)
        return [FoundVideo(p, p.parent) for p in paths if _looks_like_video(p, p.parent)]
    below = storage.list_files(url, recursive=recursive)
    if len(below) == 1 and str(below[0]) == str(url):
        return [FoundVideo(url, url.parent)]
    return [FoundVideo(p, url) for p in below if _looks_like_video(p, url)]


def _is_video(path: Path, root: Path) -> bool:
    return _looks_like_video(path, root) and path.is_file()


def _looks_like_video(path: AnyPath, root: AnyPath) -> bool:
    below = str(path)[len(str(root)) :].split("/")
    visible = not any(part.startswith(".") for part in below)
    return visible and path.suffix.lower() in SUFFIXES


def name_videos(videos: Sequence[FoundVideo]) -> list[str]:
    """The key of each video: its stem; where stems collide, below folders that differ.

    `day1/cam.mp4` and `day2/cam.mp4` become `day1/cam` and `day2/cam`; two files that differ in
    the suffix alone keep it: `cam.mp4`, `cam.avi` become `cam.mp4`, `cam.avi`.
    """
    stems = Counter(video.path.stem for video in videos)
    # A bucket is a folder like others: `s3://lab/v` → `s3`, `lab`, `v`.
    folders = [
        str(video.path.parent).replace("://", "/").strip("/").split("/") for video in videos
    ]
    n_common = sum(
        1 for _ in takewhile(lambda names: len(set(names)) == 1, zip(*folders, strict=False))
    )
    keys = [
        video.path.stem
        if stems[video.path.stem] == 1
        else "/".join((*folder[n_common:], video.path.stem))
        for video, folder in zip(videos, folders, strict=True)
    ]
    again = Counter(keys)
    return [
        key if again[key] == 1 else f"{key}{video.path.suffix}"
        for key, video in zip(keys, videos, strict=True)
    ]


def inspect_videos(
    videos: Sequence[FoundVideo], keys: Sequence[str], *, workers: int | None = None
) -> list[Inspected]:
    """Index and fingerprint the videos, several at a time; the order is kept.

    What is known from an earlier look, and has not changed, is not read again.
    """
    count = workers or min(32, 4 * (os.cpu_count() or 1))
    with ThreadPoolExecutor(count, thread_name_prefix="inspect") as pool:
        return list(pool.map(_inspect, (video.path for video in videos), keys))


def _inspect(path: AnyPath, key: str) -> Inspected:
    try:
        if isinstance(path, Path) and path.exists() and not path.is_file():
            raise VideoError("is no regular file", path=path, hint="Copy it to one.")
        look = look_into(path)
    except RayposeError as error:
        return Inspected(path, key, None, error)
    except Exception as error:  # whatever one file does to a decoder, the others go on
        failure = Failure.of("inspect", error)
        return Inspected(path, key, None, VideoError(failure.message, path=path))
    spec = VideoSpec(
        path=str(path),
        key=key,
        n_frames=look.n_frames,
        width=look.width,
        height=look.height,
        fps=look.fps,
        duration_s=look.duration_s,
        fingerprint=look.fingerprint,
    )
    return Inspected(
        path, key, spec, notes=look.notes, keyframes=look.keyframes, format=look.format
    )
