"""Frame indexes on their way from the plan to the workers, through Ray's object store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ray

from raypose.inputs.probe import known_index
from raypose.specs import VideoSpec
from raypose.steps.base import Task


class SharedIndexes:
    """The index of each video that tasks are reading now, put into the object store once.

    A worker makes an index itself where the cache no longer holds it.

    Args:
        tasks: all tasks of the run.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._references: dict[str, Any] = {}
        self._unfinished: dict[str, set[str]] = {}
        for task in tasks:
            for path in _videos_read(task):
                self._unfinished.setdefault(path, set()).add(task.id)

    def of(self, task: Task) -> dict[str, Any]:
        """References to the indexes that a task needs, by the paths of its videos."""
        given = {}
        for path, video in _videos_read(task).items():
            if path not in self._references:
                index = known_index(video)
                self._references[path] = None if index is None else ray.put(index)
            if self._references[path] is not None:
                given[path] = self._references[path]
        return given

    def ended(self, task: Task) -> None:
        """Drop the indexes that no other task needs; a task that is redone gets them again."""
        for path in _videos_read(task):
            self._unfinished[path].discard(task.id)
            if not self._unfinished[path]:
                self._references.pop(path, None)


def _videos_read(task: Task) -> dict[str, VideoSpec]:
    videos = task.step.videos if task.step.reads_frames else ()
    return {video.path: video for video in videos}
