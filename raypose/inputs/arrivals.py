"""Which videos of a directory are complete, while others are still being recorded or copied.

`Arrivals` decides from what it is told, without files and without a clock; `verdict_of` opens a
file. A file is complete when it has not changed for a while, and its container is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from raypose.errors import NoVideoTrackError, RayposeError
from raypose.inputs.probe import probe
from raypose.storage import as_path
from raypose.storage.identity import Identity
from raypose.video.index import TRUNCATED

PATIENCE = 20
"""How many times `settle_s` an unfinished file may stay as it is before it counts as arrived."""

BATCH = 2
"""How many times `settle_s` a complete file waits for others that are about to be complete."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a file is that has stopped changing, and why it is not complete."""

    kind: Literal["complete", "unfinished", "no video"]
    reason: str = ""


@dataclass(slots=True)
class _File:
    """A file as last seen."""

    identity: Identity
    since: float  # when it was first seen as it is now
    verdict: Verdict | None = None
    ready_at: float | None = None
    taken: bool = False


class Arrivals:
    """All files seen so far.

    Args:
        judge: says what a file is that has stopped changing.
        settle_s: seconds that a file must not have changed.
    """

    def __init__(self, judge: Callable[[str], Verdict], *, settle_s: float) -> None:
        self._judge = judge
        self._settle_s = settle_s
        self._files: dict[str, _File] = {}

    def look(self, files: Mapping[str, Identity], now: float) -> None:
        """Take in the files that exist now, in seconds of any clock that never goes back."""
        self._files = {path: file for path, file in self._files.items() if path in files}
        for path, identity in files.items():
            file = self._files.get(path)
            if file is None or file.identity != identity:
                self._files[path] = _File(identity, now)
            elif file.ready_at is None and now - file.since >= self._settle_s:
                file.verdict = file.verdict or self._judge(path)
                impatient = now - file.since >= PATIENCE * self._settle_s
                if file.verdict.kind == "complete" or (
                    file.verdict.kind == "unfinished" and impatient
                ):
                    file.ready_at = now  # an unfinished one will fail by name

    def take(self, now: float) -> list[str]:
        """The files to process now, each once for as long as it does not change.

        Complete files wait for others that are about to be complete, but not for long: several
        cameras end a recording at the same time, and some record without a pause.
        """
        ready = {path: file for path, file in self._waiting() if file.ready_at is not None}
        settling = any(file.verdict is None for _, file in self._waiting())
        oldest = min((file.ready_at or 0.0 for file in ready.values()), default=now)
        if settling and now - oldest < BATCH * self._settle_s:
            return []
        for file in ready.values():
            file.taken = True
        return list(ready)

    @property
    def taken(self) -> list[str]:
        """All files that were taken and still are as they were."""
        return [path for path, file in self._files.items() if file.taken]

    @property
    def changing(self) -> list[str]:
        """Files that have changed lately."""
        return [path for path, file in self._waiting() if file.verdict is None]

    @property
    def unfinished(self) -> dict[str, str]:
        """Files that no longer change and are not finished: path → why."""
        return {
            path: file.verdict.reason
            for path, file in self._waiting()
            if file.verdict is not None and file.verdict.kind == "unfinished"
        }

    def _waiting(self) -> Iterator[tuple[str, _File]]:
        return ((path, file) for path, file in self._files.items() if not file.taken)


def verdict_of(path: str) -> Verdict:
    """What a file is that has stopped changing; the next plan need not read it again."""
    try:
        video = probe(as_path(path))
    except NoVideoTrackError as error:
        return Verdict("no video", error.message)
    except RayposeError as error:
        return Verdict("unfinished", error.message)
    cut = next((note for note in video.notes if TRUNCATED in note), "")
    return Verdict("unfinished", cut) if cut else Verdict("complete")
