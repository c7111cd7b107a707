"""What is known of the frames of a video: when each is shown, and whether its picture is sound.

The decoder gives statuses (`video.damage`, `video.decoding`); they travel with the predictions to
whoever uses these. A corrupt or missing frame has no keypoints. The file of frames has a row for
each: frame, time_s, status; see `steps.frame_files` for where it is committed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raypose.errors import TableError
from raypose.storage import regular_files


class FrameStatus(IntEnum):
    """What is known of a frame's picture."""

    OK = 0  # it was decoded, and so was everything that it builds on
    SUSPECT = 1  # it was decoded, but builds on a picture that is corrupt or missing
    CORRUPT = 2  # it came out of the decoder, which says that parts of it are wrong
    MISSING = 3  # no picture came out of the decoder


WORDS = tuple(status.name.lower() for status in FrameStatus)
"""As statuses are written in files and messages."""

Statuses = NDArray[np.int8]
"""One `FrameStatus` per frame."""


def without_picture(statuses: Statuses) -> NDArray[np.bool_]:
    """Where a frame is corrupt or missing: nothing can be predicted from it."""
    return statuses >= FrameStatus.CORRUPT


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Time and status of consecutive frames."""

    times_s: NDArray[np.float64]  # (n,), seconds after the first frame of the video
    statuses: Statuses  # (n,)

    def __post_init__(self) -> None:
        if len(self.times_s) != len(self.statuses):
            raise ValueError(f"{len(self.times_s)} times and {len(self.statuses)} statuses")

    def __len__(self) -> int:
        return len(self.statuses)

    @property
    def all_ok(self) -> bool:
        return not self.statuses.any()

    @property
    def counts(self) -> dict[str, int]:
        """Frames of each status that occurs, by its word, `ok` first."""
        return count(self.statuses)

    def slice(self, start: int, stop: int) -> Frames:
        return Frames(self.times_s[start:stop], self.statuses[start:stop])

    @classmethod
    def joined(cls, parts: Sequence[Frames]) -> Frames:
        """Parts of one video, one after the other."""
        return cls(
            np.concatenate([part.times_s for part in parts]),
            np.concatenate([part.statuses for part in parts]),
        )

    @classmethod
    def worst(cls, several: Sequence[Frames]) -> Frames:
        """What is known of the same frames from several decodings: the worst of each."""
        statuses = np.max([frames.statuses for frames in several], axis=0)
        return cls(several[0].times_s, statuses)


def count(statuses: Statuses) -> dict[str, int]:
    """Frames of each status that occurs, by its word, in the order of `FrameStatus`."""
    numbers = np.bincount(statuses, minlength=len(WORDS))
    return {word: int(n) for word, n in zip(WORDS, numbers, strict=True) if n}


def damage(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts of frames that are not ok; empty where all are."""
    return {word: counts[word] for word in WORDS[1:] if counts.get(word)}


def describe(counts: Mapping[str, int]) -> str:
    """Counts for people: `28 of 994 frames are missing, 55 corrupt, 137 suspect`."""
    total = sum(counts.values())
    found = [(word, counts[word]) for word in reversed(WORDS[1:]) if counts.get(word)]
    if not found:
        return f"all {total} frames are ok"
    (word, n), *others = found
    head = f"{n:,} of {total:,} frames {'is' if n == 1 else 'are'} {word}"
    return ", ".join([head, *(f"{n:,} {word}" for word, n in others)])


def write_frames(frames: Frames, path: str | os.PathLike[str]) -> None:
    """Write the file of frames; an OSError where that fails."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    words = pa.DictionaryArray.from_arrays(pa.array(frames.statuses), pa.array(WORDS))
    columns = [np.arange(len(frames)), frames.times_s, words.cast(pa.string())]
    table = pa.table(columns, ["frame", "time_s", "status"])
    # By its name Arrow opens no file whose name is not UTF-8.
    with open(path, "wb") as file:
        pa_csv.write_csv(table, file, pa_csv.WriteOptions(quoting_style="none"))


def read_frames(path: str | os.PathLike[str]) -> Frames:
    """Read a file of frames.

    Raises:
        TableError: it is no such file, or is damaged.
        OSError: it can't be read.
    """
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    hint = "Remove it, and predict the video again."
    types = {"frame": pa.int64(), "time_s": pa.float64(), "status": pa.string()}
    options = pa_csv.ConvertOptions(
        column_types=types, include_columns=list(types), strings_can_be_null=False
    )
    try:
        with regular_files.open_file(Path(path)) as file:
            table = pa_csv.read_csv(file, convert_options=options)
        numbers, times_s = (table[name].to_numpy() for name in ("frame", "time_s"))
        codes = np.array([WORDS.index(word) for word in table["status"].to_pylist()], np.int8)
    except (pa.ArrowException, KeyError, ValueError) as error:
        message = f"no file of frames and their status ({str(error)[:200]})"
        raise TableError(message, path=path, hint=hint) from error
    if not np.array_equal(numbers, np.arange(len(numbers))):
        raise TableError("its frames are not numbered one by one", path=path, hint=hint)
    return Frames(times_s, codes)
