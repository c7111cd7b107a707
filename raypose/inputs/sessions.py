"""Which files (videos, or tables of predictions) belong to one recording by several cameras.

Only a list that the user wrote is read; whether the files in it exist is checked elsewhere.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from raypose.config.schemas import quoted
from raypose.errors import TableError, UsageError
from raypose.limits import MAX_SESSION_LIST_BYTES
from raypose.storage import AnyPath, as_path, local_path
from raypose.tables.csv_rows import small_rows

SESSION_COLUMN = "session"
_SEPARATOR = re.compile(r"([_\-. ])")


@dataclass(frozen=True, slots=True)
class Recording:
    name: str  # unique; used in output paths: `rec1`, or `day1/rec1` where names collide
    files: tuple[tuple[str, AnyPath], ...]  # `(view, file)`, in the order of the views
    missing: tuple[str, ...] = ()  # views that have no file

    @classmethod
    def of(cls, name: str, by_view: Mapping[str, AnyPath], views: Sequence[str]) -> Recording:
        files = tuple((view, by_view[view]) for view in views if view in by_view)
        return cls(name, files, tuple(view for view in views if view not in by_view))


@dataclass(frozen=True, slots=True)
class Grouping:
    views: tuple[str, ...]
    recordings: tuple[Recording, ...]  # in the order of their first file
    unmatched: tuple[tuple[AnyPath, str], ...] = ()  # `(file, reason)`


def group_by_view(files: Sequence[Path], views: Sequence[str]) -> Grouping:
    """Group files by the part of their names that is not the view's name.

    The parts of a file's stem between `_`, `-`, `.` and spaces are compared with the view's name,
    which may be of several parts itself; a longer name hides a shorter one within it. Upper and
    lower case are told apart, unless that finds nothing. Where the stem names no view, a folder
    below the files' common one may, or else the folder that the file is in.

    Raises:
        UsageError: no views, or views that can't be told apart.
    """
    _check_views(views)
    all_views = ", ".join(views)
    paths = {file: Path(os.path.abspath(file)) for file in files}
    root = Path(os.path.commonpath([p.parent for p in paths.values()])) if paths else Path()
    by_stem = {file: _views_in(path.stem, views) for file, path in paths.items()}
    folders = {file: path.parent.relative_to(root).parts for file, path in paths.items()}
    # A folder `left` is the view's only as long as no file of another view lies in it.
    alone = [file for file, found in by_stem.items() if len(found) == 1]
    told_by_folders = all(views_of_folders(folders[f], views) <= by_stem[f] for f in alone)
    keys: dict[Path, tuple[str, tuple[str, ...]]] = {}
    unmatched: list[tuple[Path, str]] = []
    for file, path in paths.items():
        found = by_stem[file]
        of_folders = views_of_folders(folders[file], views)
        dropped = of_folders if told_by_folders or not found else set()
        found = found or of_folders or views_of_folders((path.parent.name,), views)
        if len(found) != 1:
            named = ", ".join(view for view in views if view in found)
            count = "two" if len(found) == 2 else len(found)
            several, none = f"names {count} views: {named}", f"names none of the views {all_views}"
            unmatched.append((file, several if found else none))
            continue
        (view,) = found
        kept = [part for part in folders[file] if not views_of_folders((part,), views) & dropped]
        name = _without(path.stem, view)
        if name.strip(". "):
            kept.append(name)
        keys[file] = (view, tuple(kept) or (_name_of(root, views),))
    recordings, doubles = _recordings(keys, tuple(views))
    return Grouping(tuple(views), recordings, (*unmatched, *doubles))


def read_session_list(path: Path) -> Grouping:
    """Reads a CSV of recordings: a column `session`, and a column of files for each view.

    Paths are relative to the CSV, or URLs; an empty field says that the view is missing.

    Raises:
        UsageError: the file can't be read or is no such list.
    """
    try:
        rows = small_rows(path, MAX_SESSION_LIST_BYTES)
    except OSError as error:
        raise UsageError(f"can't be read ({error.strerror})", path=path) from None
    except TableError as error:
        raise UsageError(error.message, path=path, hint=error.hint) from None
    header = rows[0][1] if rows else []
    views = tuple(field for field in header if field != SESSION_COLUMN)
    if SESSION_COLUMN not in header or not all(views) or len(set(header)) < len(header):
        raise UsageError(
            f"its first row ({quoted(', '.join(header))}) does not name a column "
            f"{SESSION_COLUMN} and one for each view, each once",
            path=path,
            hint=f"Write it like {SESSION_COLUMN},top,side with commas between.",
        )
    _check_views(views, path)
    recordings: list[Recording] = []
    taken: dict[str, int] = {}
    for line, row in rows[1:]:
        if len(row) != len(header):
            message = f"line {line} has {len(row)} fields, the first row {len(header)}"
            raise UsageError(message, path=path)
        fields = dict(zip(header, row, strict=True))
        recording = _listed(fields, views, path, line)
        items = [recording.name, *(str(file) for _, file in recording.files)]
        for item in items:
            if item in taken:
                raise UsageError(f"{item} is in line {taken[item]} and in line {line}", path=path)
            taken[item] = line
        recordings.append(recording)
    if not recordings:
        raise UsageError("it lists no session", path=path)
    return Grouping(views, tuple(recordings))


def find_calibration(videos: Sequence[str], session: str) -> Path | None:
    """The calibration beside a recording's videos; None if there is none, or they have URLs.

    Searched in the folder that holds all of its videos, and in the one above: as
    `calibrations/SESSION.toml` (as in Lightning Pose projects), then as `calibration.toml`.
    """
    if any(local_path(video) is None for video in videos):
        return None
    folder = Path(os.path.commonpath([os.path.dirname(video) for video in videos]))
    names = (f"calibrations/{session.rpartition('/')[2]}.toml", "calibration.toml")
    places = [place / name for place in (folder, folder.parent) for name in names]
    return next((path for path in places if path.exists() and not path.is_dir()), None)


def _listed(fields: dict[str, str], views: tuple[str, ...], path: Path, line: int) -> Recording:
    name = fields[SESSION_COLUMN]
    parts = PurePosixPath(name).parts
    if not name or "/".join(parts) != name or ".." in parts or parts[0] == "/":
        raise UsageError(f"line {line}: {name!r} can't be the name of a session", path=path)
    folder = Path(os.path.abspath(path)).parent
    files = {view: as_path(fields[view], base=folder) for view in views if fields[view]}
    if not files:
        raise UsageError(f"line {line}: session {name} has no file", path=path)
    return Recording.of(name, files, views)


def _check_views(views: Sequence[str], path: Path | str = "") -> None:
    if not views:
        raise UsageError("no views are named", path=path, hint="Name them like top,side.")
    words: dict[tuple[str, ...], str] = {}
    for view in views:
        tokens = _tokens(view)
        if not all(tokens):
            hint = "Names are letters and digits, with single _ or - between."
            raise UsageError(f"{view!r} can't be the name of a view", path=path, hint=hint)
        if tokens in words:
            raise UsageError(f"views {words[tokens]} and {view} can't be told apart", path=path)
        words[tokens] = view


def _tokens(text: str) -> tuple[str, ...]:
    return tuple(_SEPARATOR.split(text)[::2])


def _spans(text: str, view: str) -> list[tuple[int, int]]:
    """Where the parts of the view's name come within those of the text, `(start, stop)`."""
    tokens, wanted = _tokens(text), _tokens(view)
    size = len(wanted)
    return [(i, i + size) for i in range(len(tokens)) if tokens[i : i + size] == wanted]


def _views_in(text: str, views: Sequence[str]) -> set[str]:
    spans = [(*span, view) for view in views for span in _spans(text, view)] or [
        (*span, view) for view in views for span in _spans(text.casefold(), view.casefold())
    ]
    return {
        view
        for start, stop, view in spans
        if not any(a <= start and stop <= b and b - a > stop - start for a, b, _ in spans)
    }


def views_of_folders(folders: Sequence[str], views: Sequence[str]) -> set[str]:
    """The views that are the whole name of one of the folders."""
    found: set[str] = set()
    for folder in folders:
        same = {view for view in views if _tokens(view) == _tokens(folder)}
        found |= same or {v for v in views if _tokens(v.casefold()) == _tokens(folder.casefold())}
    return found


def _without(stem: str, view: str) -> str:
    """The stem without the view's name; of the separators around it the first one stays."""
    parts = _SEPARATOR.split(stem)
    tokens, separators = parts[::2], ["", *parts[1::2]]
    spans = _spans(stem, view) or _spans(stem.casefold(), view.casefold())
    gone = {i for start, stop in spans for i in range(start, stop)}
    kept = [i for i in range(len(tokens)) if i not in gone]
    befores = (-1, *kept)
    return "".join(separators[b + 1] + tokens[i] for b, i in zip(befores, kept, strict=False))


def _name_of(root: Path, views: Sequence[str]) -> str:
    """Name of a recording whose files are called by their views alone."""
    names = (path.name for path in (root, *root.parents))
    return next((n for n in names if n and not views_of_folders((n,), views)), "recording")


def _recordings(
    keys: dict[Path, tuple[str, tuple[str, ...]]], views: tuple[str, ...]
) -> tuple[tuple[Recording, ...], list[tuple[Path, str]]]:
    groups: dict[tuple[str, ...], dict[str, Path]] = {}
    for file, (view, key) in keys.items():
        groups.setdefault(key, {}).setdefault(view, file)
    short = Counter(key[-1] for key in groups)
    names = {key: key[-1] if short[key[-1]] == 1 else "/".join(key) for key in groups}
    recordings = tuple(Recording.of(names[key], group, views) for key, group in groups.items())
    doubles = [
        (file, f"is the second file of view {view} of {names[key]}: {groups[key][view]} is taken")
        for file, (view, key) in keys.items()
        if groups[key][view] != file
    ]
    return recordings, doubles
