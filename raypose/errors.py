"""The exceptions of raypose, all of which `raypose` itself exports, and errors as values.

```
RayposeError                 everything below; prints as one line, never as a traceback
├── UsageError               the command line or configuration is wrong (exit code 2)
├── ModelError               a model directory or checkpoint can't be used
│   ├── UnsafeCheckpointError    it needs unpickling that can run code
│   └── ModelChangedError        it is not what it was when the run was planned
├── VideoError               a video can't be read
│   └── NoVideoTrackError        it holds sound or text but no video
├── TableError               a table of predictions can't be read, or doesn't fit
├── LabelsError              training labels are missing or can't be used
├── SmoothingError           the ensemble can't be smoothed
├── OutputError              a file can't be written
├── StorageError             an object in a store can't be read or written
├── DeviceError              a GPU can't be used
├── ClusterError             Ray or the cluster can't be reached or used
├── WorkerLostError          a worker process died too often
└── CancelledError           the run was stopped
```

An error says what went wrong, where (`path`), and what to do about it (`hint`). A step that fails
passes on a `Failure`, a plain value that crosses processes; the rest of the run continues.
"""

from __future__ import annotations

import errno
import os
import traceback
from dataclasses import dataclass
from functools import partial
from typing import Any

from raypose.text import shown, without_secrets


class RayposeError(Exception):
    """Base of all errors that raypose raises on purpose.

    Args:
        message: what went wrong and why, without a full stop at the end.
        path: the file, directory or URL it is about.
        hint: what the user can do about it, as an instruction.
    """

    def __init__(self, message: str, *, path: object = "", hint: str = "") -> None:
        self.message, self.hint = without_secrets(message), without_secrets(hint)
        super().__init__(self.message)
        where = os.fspath(path) if isinstance(path, os.PathLike) else str(path)
        self.path = without_secrets(where)

    def __str__(self) -> str:
        return one_line(self.path, self.message, self.hint)

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword arguments do not survive the default pickling of exceptions.
        return partial(type(self), path=self.path, hint=self.hint), (self.message,)


def one_line(path: str, message: str, hint: str) -> str:
    """`where: what. What to do.` in one line, whatever the parts contain."""
    text = shown(" ".join(message.split()))
    if path:
        text = f"{shown(path)}: {text}"
    return f"{text}. {shown(' '.join(hint.split()))}" if hint else text


class UsageError(RayposeError): ...


class ModelError(RayposeError): ...


class UnsafeCheckpointError(ModelError): ...


class ModelChangedError(ModelError): ...


class VideoError(RayposeError): ...


class NoVideoTrackError(VideoError): ...


class TableError(RayposeError): ...


class LabelsError(RayposeError): ...


class SmoothingError(RayposeError): ...


class OutputError(RayposeError): ...


class StorageError(RayposeError): ...


class DeviceError(RayposeError): ...


class ClusterError(RayposeError): ...


class WorkerLostError(RayposeError): ...


class CancelledError(RayposeError): ...


class IrregularFileError(OSError):
    """A pipe, socket or device instead of a file."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as a value: what a task passes on instead of a result.

    Attributes:
        step: the kind of task that failed (`predict`, `label`, …).
        message, path, hint: as in `RayposeError`.
        error: name of the exception's class.
        details: the traceback, for `--debug` and the log; empty for errors that users cause.
        skipped: whether the task was not tried because one that it needs had failed.
        subject: what failed, for people: the video, and the model where one is concerned.
    """

    step: str
    message: str
    path: str = ""
    hint: str = ""
    error: str = "RayposeError"
    details: str = ""
    skipped: bool = False
    subject: str = ""

    def __str__(self) -> str:
        return one_line(self.path, self.message, self.hint)

    @classmethod
    def of(cls, step: str, error: BaseException) -> Failure:
        """The failure that an exception caught in `step` stands for."""
        if isinstance(error, OSError):
            error = from_os_error(error) or error
        if isinstance(error, RayposeError):
            return cls(step, error.message, error.path, error.hint, type(error).__name__)
        if isinstance(error, MemoryError):
            hint = "Use fewer workers or a machine with more memory."
            return cls(step, "this machine ran out of memory", "", hint, "MemoryError")
        if is_out_of_gpu_memory(error):
            hint = "Close other programs that use the GPU, or give a smaller --batch-size."
            return cls(step, "the GPU's memory is used up", "", hint, "DeviceError")
        name = type(error).__name__
        hint = "This is a defect of raypose or of a library it uses; --debug shows where."
        details = without_secrets("".join(traceback.format_exception(error)))
        return cls(step, without_secrets(f"{name}: {error}"), "", hint, name, details)

    def as_skipped(self, step: str) -> Failure:
        """The failure of a task that could not start because this one failed."""
        return Failure(step, self.message, self.path, self.hint, self.error, "", skipped=True)


_NO_GPU_MEMORY = ("CUDA out of memory", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")


def is_out_of_gpu_memory(error: BaseException) -> bool:
    """Whether a GPU had too little memory; works without importing torch."""
    if not isinstance(error, RuntimeError):
        return False
    text = str(error)
    named = type(error).__name__ == "OutOfMemoryError"
    return named or any(phrase in text for phrase in _NO_GPU_MEMORY)


_OS_ERRORS = {
    errno.ENOSPC: ("the disk is full", "Free some space and run the same command again."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space and run the same command again."),
    errno.EACCES: ("permission denied", "Check who may read and write there."),
    errno.EPERM: ("permission denied", "Check who may read and write there."),
    errno.EROFS: ("the file system is read-only", "Choose another place with -o."),
    errno.ENOENT: ("no such file or directory", "Check the path."),
    errno.ENAMETOOLONG: (
        "the file name is too long",
        "Rename the video or choose a shorter path.",
    ),
    errno.ENOTDIR: ("a part of this path is a file, not a directory", "Check the path."),
    errno.EEXIST: (
        "there is a file where a directory is needed",
        "Move it, or choose another -o.",
    ),
    errno.EISDIR: ("there is a directory where a file is needed", "Move it away."),
    errno.EFBIG: ("the file is too large", "Check the limits of the disk and of this process."),
    errno.EIO: ("the disk reports an error", "Check the disk, then run the same command again."),
}


def from_os_error(error: OSError) -> OutputError | None:
    """The error for a failed file operation that a user can repair, else None."""
    known = _OS_ERRORS.get(error.errno or 0)
    if isinstance(error, IrregularFileError):
        known = f"this is {error.strerror}", "Move it away, or give a regular file."
    if known is None:
        return None
    return OutputError(known[0], path=os.fsdecode(error.filename or ""), hint=known[1])
