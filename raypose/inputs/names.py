"""Names of outputs: the keys of videos, and the names of recordings of several views.

Names last: the records of outputs say which name a video had in an earlier run, so that a new
video does not rename the outputs of another. They depend on the set of videos and on these
records, not on their order, so that several drivers of the same recordings agree on them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from raypose import storage
from raypose.inputs.sessions import Recording
from raypose.inputs.videos import FoundVideo
from raypose.storage import AnyPath, as_path
from raypose.storage.listing import Listing
from raypose.storage.records import read_record, recorded_below


class GivenNames:
    """Names from earlier runs, by the records of their outputs with a suffix, in one folder per
    owner; each folder is listed once."""

    def __init__(
        self, folders: Iterable[AnyPath], suffix: str, listing: Listing | None = None
    ) -> None:
        listing = listing or Listing()
        self._outputs: dict[str, list[str]] = {}  # of each name, one per owner
        for folder in folders:
            for output in recorded_below(folder, listing.files_below(folder)):
                if output.endswith(suffix):
                    name = output.removesuffix(suffix)
                    self._outputs.setdefault(name, []).append(f"{folder}/{output}")
        self._sources: dict[str, list[str]] = {}

    def ending_in(self, last: str) -> list[str]:
        return sorted(name for name in self._outputs if name.rpartition("/")[2] == last)

    def of(self, paths: Sequence[AnyPath], candidates: Iterable[str], default: str) -> str:
        """The shortest candidate that has been a name of these files only; empty if none has, or
        only the default."""
        known = [name for name in candidates if name in self._outputs]
        if set(known) <= {default}:
            return ""
        ours = [n for n in known if all(_is_one_of(s, paths) for s in self._sources_of(n))]
        return min(ours, key=lambda name: (name.count("/"), len(name), name), default="")

    def _sources_of(self, name: str) -> list[str]:
        """The video that an output of this name was made from, for each owner."""
        if name not in self._sources:
            records = [read_record(as_path(output)) or {} for output in self._outputs[name]]
            self._sources[name] = [record.get("source", "") for record in records]
        return self._sources[name]


def _is_one_of(source: str, paths: Sequence[AnyPath]) -> bool:
    """Whether a recorded path leads to one of the files, or did before their folders moved."""
    if source in map(str, paths):
        return True
    recorded = storage.local_path(source) if source else None
    if recorded is None:
        return False
    local = [path for path in map(storage.local_path, paths) if path is not None]
    if recorded.exists():
        return any(path.exists() and path.samefile(recorded) for path in local)
    return any(path.parts[-2:] == recorded.parts[-2:] for path in local)


def name_videos(videos: Sequence[FoundVideo], given: GivenNames | None = None) -> list[str]:
    """The key of each video: its stem; where stems collide, below folders that differ.

    `day1/cam.mp4` and `day2/cam.mp4` become `day1/cam` and `day2/cam`; two files that differ
    only in the suffix keep it: `cam.mp4` and `cam.avi`. But a video that has been `cam` in the
    output folder stays `cam`.

    The names depend on all videos of a run, even if this driver plans only a part of them.
    """
    given = given or GivenNames((), "")
    paths = [video.path for video in videos]
    bases = _base_names(paths)

    def tails(path: AnyPath) -> list[str]:
        plain = _tails(path, path.stem)
        return [*plain, *(f"{name}{path.suffix}" for name in plain)]

    before = [given.of([p], tails(p), base) for p, base in zip(paths, bases, strict=True)]
    return _settle(paths, bases, before, tails)


def name_recordings(recordings: Sequence[Recording], given: GivenNames) -> list[Recording]:
    """The recordings, each under the name that it had in an earlier run, if any."""
    firsts = [recording.files[0][1] for recording in recordings]
    bases = [recording.name for recording in recordings]
    before = [
        given.of([path for _, path in r.files], given.ending_in(r.name.rpartition("/")[2]), r.name)
        for r in recordings
    ]
    lasts = {first: base.rpartition("/")[2] for first, base in zip(firsts, bases, strict=True)}
    names = _settle(firsts, bases, before, lambda path: _tails(path, lasts[path]))
    return [replace(r, name=name) for r, name in zip(recordings, names, strict=True)]


def _base_names(paths: Sequence[AnyPath]) -> list[str]:
    stems = Counter(path.stem for path in paths)
    folders = [storage.parts(path.parent) for path in paths]
    is_common = [len(set(names)) == 1 for names in zip(*folders, strict=False)]
    n_common = [*is_common, False].index(False)
    keys = [
        path.stem if stems[path.stem] == 1 else "/".join((*folder[n_common:], path.stem))
        for path, folder in zip(paths, folders, strict=True)
    ]
    again = Counter(keys)
    return [
        key if again[key] == 1 else f"{key}{path.suffix}"
        for key, path in zip(keys, paths, strict=True)
    ]


def _tails(path: AnyPath, last: str) -> list[str]:
    """`last`, and below more and more of the file's folders."""
    folders = storage.parts(path.parent)
    return ["/".join((*folders[i:], last)) for i in range(len(folders), -1, -1)]


def _settle(
    paths: Sequence[AnyPath],
    bases: Sequence[str],
    before: Sequence[str],
    longer: Callable[[AnyPath], list[str]],
) -> list[str]:
    """Earlier names where there are any, base names elsewhere, and no name twice."""
    claims = Counter(before)
    names = {i: name for i, name in enumerate(before) if name and claims[name] == 1}
    taken = set(names.values())
    rest = [i for i in range(len(paths)) if i not in names]
    displaced = [i for i in rest if bases[i] in taken]
    names |= {i: bases[i] for i in rest if bases[i] not in taken}
    taken |= {bases[i] for i in rest}
    for i in sorted(displaced, key=lambda i: str(paths[i])):
        more = longer(paths[i])
        numbered = (f"{more[-1]}_{n}" for n in itertools.count(2))
        names[i] = next(name for name in itertools.chain(more, numbered) if name not in taken)
        taken.add(names[i])
    return [names[i] for i in range(len(paths))]
