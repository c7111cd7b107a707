"""How fast a model predicted in the doctor's trial on this machine, kept in the cache."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from raypose.storage.cache import cache_dir, store


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial.

    Attributes:
        model: fingerprint of the model.
        device: `cpu` or `cuda`.
        frames_per_s: of one process, decoding included.
        pixels: of a frame of the video.
        host: name of the machine.
        time_s: when it was, in seconds since the epoch.
    """

    model: str
    device: str
    frames_per_s: float
    pixels: int
    host: str = field(default_factory=socket.gethostname)
    time_s: float = field(default_factory=time.time)


def remember_trial(trial: Trial) -> None:
    """Keep a trial in the place of an earlier one of the same model on this machine."""
    store(_path(trial.model), json.dumps(asdict(trial)).encode())


def last_trial(model: str) -> Trial | None:
    """The last trial of a model on this machine; None where there is none."""
    try:
        trial = Trial(**json.loads(_path(model).read_bytes()))
        usable = trial.frames_per_s > 0 and trial.pixels > 0 and trial.time_s > 0
    except (OSError, ValueError, TypeError):
        return None
    return trial if usable and trial.host == socket.gethostname() else None


def _path(model: str) -> Path:
    # Machines may share a home directory.
    return cache_dir("trials") / f"{model}-{socket.gethostname()}.json"
