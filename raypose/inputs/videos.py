"""From the user's arguments to the videos of a run.

`find_videos` turns files, directories and globs into paths; `probe_videos` indexes and
fingerprints several videos at a time. Between the two, `names` gives each video the key of its
outputs. Suffixes only choose candidates: a file is a video if FFmpeg finds a video track in it.
"""

from __future__ import annotations

import codecs
import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from raypose import storage
from raypose.errors import RayposeError, StorageError, UsageError, VideoError
from raypose.inputs.probe import Unusable, recall
from raypose.inputs.probing import described, probe_in_processes
from raypose.inputs.search import Search
from raypose.inputs.suffixes import VIDEO_SUFFIXES
from raypose.specs import VideoSpec
from raypose.storage import AnyPath, as_path
from raypose.storage.cache import is_writable as cache_is_writable
from raypose.storage.identity import Identity
from raypose.storage.object_store import matching_objects, objects_in
from raypose.storage.records import RecordedFiles
from raypose.video.turns import Turns, map_in_turns
from raypose.worker.budget import usable_cores

_HEAD_BYTES = 4096
# Fewest new videos per process that make starting one worthwhile.
_PER_PROCESS = 50

OWN = "outputs of raypose"
LINK = "links to videos that are found under their own names"
NO_VIDEO = "no video track in them"


@dataclass(frozen=True, slots=True)
class FoundVideo:
    """A file that is taken for a video until it is opened."""

    path: AnyPath
    named: bool = False  # whether the user named this very file, and no directory or glob
    identity: Identity | None = None  # as the listing of a store told it


@dataclass(frozen=True, slots=True)
class Excluded:
    path: AnyPath
    reason: str  # `OWN`, `LINK` or `NO_VIDEO`


@dataclass(frozen=True, slots=True)
class FoundVideos:
    """What arguments stand for, each once, in order."""

    videos: tuple[FoundVideo, ...]
    broken: tuple[VideoError, ...] = ()  # broken links, directories that can't be searched
    excluded: tuple[Excluded, ...] = ()


def find_videos(
    arguments: Sequence[str], *, recursive: bool = False, may_lack: bool = False
) -> FoundVideos:
    """The videos that files, directories, globs and URLs stand for, each once, in order.

    A file that is named is taken whatever its suffix; in directories and globs only those with a
    suffix of videos, and no hidden files. What raypose has made itself is never taken.

    Raises:
        UsageError: an argument stands for nothing, or nothing is left to be taken; neither where
            videos `may_lack` because they are still to come.
        StorageError: a store can't be asked.
    """
    finder = _Finder(recursive, may_lack)
    for argument in arguments:
        finder.add(argument)
    videos, doubles = _once(list(finder.found.values()))
    excluded = (*finder.excluded.values(), *(Excluded(path, LINK) for path in doubles))
    if not videos and not finder.search.broken and not may_lack:
        counts = Counter(item.reason for item in excluded)
        counted = ", ".join(f"{reason} ({count})" for reason, count in counts.items())
        raise UsageError(f"no video there: {counted}", path=arguments[0])
    return FoundVideos(tuple(videos), tuple(finder.search.broken), excluded)


class _Finder:
    def __init__(self, recursive: bool, may_lack: bool) -> None:
        self._recursive, self._may_lack = recursive, may_lack
        self.search = Search(_has_video_suffix, recursive=recursive)
        self._records = RecordedFiles()
        self.found: dict[str, FoundVideo] = {}
        self.excluded: dict[str, Excluded] = {}

    def add(self, argument: str) -> None:
        n_broken = len(self.search.broken)
        path = storage.local_path(argument)
        candidates = self._of_path(path, argument) if path else self._of_url(argument)
        if not candidates and len(self.search.broken) == n_broken and not self._may_lack:
            hint = f"Give files, directories or globs of {', '.join(VIDEO_SUFFIXES)}"
            if not self._recursive:
                hint += "; --recursive searches directories at all depths"
            raise UsageError("no video there", path=argument, hint=hint)
        for video in candidates:
            reason = OWN if video.path in self._records else ""
            if not reason and not video.named and _is_text(video.path):
                reason = NO_VIDEO
            if reason:
                self.excluded.setdefault(str(video.path), Excluded(video.path, reason))
            else:
                self.found.setdefault(str(video.path), video)

    def _of_path(self, path: Path, argument: str) -> list[FoundVideo]:
        if os.path.isdir(path):  # which a name that is too long does not disturb
            return [FoundVideo(file) for file in self.search.below(path)]
        if os.path.lexists(path):
            is_broken = self.search.is_broken_link(path)
            return [] if is_broken else [FoundVideo(path, named=True)]
        if not glob.has_magic(argument):
            raise UsageError("no such file or directory", path=argument, hint="Check the path.")
        return [FoundVideo(file) for file in self.search.matching(str(path))]

    def _of_url(self, argument: str) -> list[FoundVideo]:
        url = as_path(argument)
        if glob.has_magic(argument) and not storage.exists(url):
            paths = matching_objects(url)
            return [FoundVideo(p) for p in paths if _looks_like_video(str(p), str(p.parent))]
        below = objects_in(url, recursive=self._recursive)
        if list(below) == [str(url)]:
            return [FoundVideo(url, named=True)]
        if self._recursive:
            self._records.add_listing(below)
        return [
            FoundVideo(as_path(text), identity=identity)
            for text, identity in below.items()
            if _looks_like_video(text, str(url))
        ]


def _once(found: Sequence[FoundVideo]) -> tuple[list[FoundVideo], list[AnyPath]]:
    """The videos without those that are reached a second time, and the links among these.

    Several links to a file that is not itself among the videos are videos of their own: their
    names are what the user calls them by.
    """
    places: dict[str, FoundVideo] = {}
    real_folder = cache(os.path.realpath)
    for video in found:
        place = str(video.path)
        if isinstance(video.path, Path):
            folder, _, name = place.rpartition("/")
            place = os.path.join(real_folder(folder or "/"), name)
        places.setdefault(place, video)
    links = [place for place in places if os.path.islink(place)]
    doubles = dict.fromkeys(link for link in links if os.path.realpath(link) in places)
    videos = [video for place, video in places.items() if place not in doubles]
    return videos, [places[place].path for place in doubles]


def _has_video_suffix(name: str) -> bool:
    return name.lower().endswith(VIDEO_SUFFIXES)


def _looks_like_video(path: str, root: str) -> bool:
    """Whether this is the name of a video, and no part of it below `root` is hidden."""
    below = path[len(root) :].split("/")
    return not any(part.startswith(".") for part in below) and _has_video_suffix(below[-1])


def _is_text(path: AnyPath) -> bool:
    """Whether a file with a suffix that texts have too (TypeScript) is one of these."""
    if not path.name.lower().endswith((".ts", ".mts")) or not storage.store_of(path).is_file(path):
        return False
    decoder = codecs.getincrementaldecoder("utf-8")()  # the last character may be cut
    try:
        text = decoder.decode(storage.read_head(path, _HEAD_BYTES))
    except (OSError, StorageError, UnicodeDecodeError):
        return False  # what reads it will say why it can't
    return bool(text) and all(c.isprintable() or c.isspace() for c in text)


def probe_videos(videos: Sequence[FoundVideo], keys: Sequence[str]) -> list[VideoSpec | Unusable]:
    """Describe the videos, several at a time; the order is kept."""
    named = list(zip(videos, keys, strict=True))
    turns = Turns(min(32, 4 * usable_cores()))
    found = dict(enumerate(map_in_turns(_recalled, named, turns=turns, per_turn=8)))
    local = [i for i, known in found.items() if known is None and isinstance(videos[i].path, Path)]
    n_processes = min(usable_cores(), len(local) // _PER_PROCESS)
    if n_processes > 1 and cache_is_writable():
        paths, chosen = [str(videos[i].path) for i in local], [keys[i] for i in local]
        found |= zip(local, probe_in_processes(paths, chosen, n_processes), strict=True)
    unknown = [i for i, known in found.items() if known is None]
    rest = [(videos[i].path, keys[i], videos[i].identity) for i in unknown]
    found |= zip(unknown, map_in_turns(lambda v: described(*v), rest, turns=turns), strict=True)
    return [video for video in found.values() if video is not None]


def _recalled(named: tuple[FoundVideo, str]) -> VideoSpec | Unusable | None:
    video, key = named
    try:
        return recall(video.path, key, video.identity)
    except RayposeError as error:
        return Unusable(str(video.path), key, error)
