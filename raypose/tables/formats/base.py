"""What a format is, and what a file may say of a table besides its numbers."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypose.errors import TableError, UsageError
from raypose.specs import Skeleton
from raypose.tables.keypoints import KeypointTable


def has_position(xy: NDArray[Any]) -> NDArray[np.bool_]:
    """Where there is a keypoint, (n_frames, n_keypoints), of positions (…, 2)."""
    return np.asarray(~np.isnan(xy).any(axis=-1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What is known of a table besides its numbers.

    Attributes:
        owner: name of the model, or `eks`.
        key: of the video.
        recipe: digest of what the table was made from.
        folder: where the file that is written goes in the end; None for a store.
        video: path or URL of the video; empty where it is not known.
        size: width and height of the video's frames, in pixels; None where it is not known.
        times_s: when each frame is shown, (n_frames,), in seconds after the first; None where
            that is not known.
        unknown: why size and times are not known, where they are not.
        began: when the recording began, as far as is known; None for formats that do not ask.
        began_by: what `began` is.
        skeleton: pairs of keypoints that a line joins, all of them keypoints of the table.
    """

    owner: str
    key: str
    recipe: str
    folder: Path | None = None
    video: str = ""
    size: tuple[int, int] | None = None
    times_s: NDArray[np.float64] | None = None
    unknown: str = ""
    began: datetime | None = None
    began_by: str = ""
    skeleton: Skeleton = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A kind of file that a table can be written as.

    Attributes:
        name: as in `--format`.
        suffix: follows the video's name in the name of the file.
        version: raised when the same table gives another file than before.
        writer: writes a table to a local path, where there may be a file.
        uses_video: whether the file says something of the video's frames.
        needs_times: whether it can't be written without the time of each frame.
        has_skeleton: whether the file says which keypoints a line joins.
        package: a module that must be there, and is not among raypose's dependencies.
        extra: the extra of raypose that installs it.
    """

    name: str
    suffix: str
    writer: Callable[[KeypointTable, Path, Description], None]
    version: int = 1
    uses_video: bool = False
    needs_times: bool = False
    has_skeleton: bool = False
    package: str = ""
    extra: str = ""

    def check_installed(self) -> None:
        """Raises UsageError where a package is missing."""
        if self.package and find_spec(self.package) is None:
            message = f"--format {self.name} needs the package {self.package}"
            hint = f"Install it: uv sync --extra {self.extra} in the clone of raypose."
            raise UsageError(f"{message}, which is not installed", hint=hint)

    def write(self, table: KeypointTable, path: Path, description: Description) -> None:
        """Write a table to a local path, where there may be a file.

        Raises:
            TableError: the format can't hold the table, or lacks what it needs to know.
            UsageError: a package is missing.
            OSError: the file can't be written.
        """
        self.check_installed()
        try:
            self.writer(table, path, description)
        except UnicodeEncodeError as error:
            hint = "Rename the video and run it again, or choose another format."
            message = f"--format {self.name} can't write names that are not UTF-8"
            raise TableError(message, hint=hint) from error
        except RuntimeError as error:
            # h5py's for a full disk, with the number of the system's error in its text.
            number = re.search(r"errno = (\d+)", "".join(traceback.format_exception(error)))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
