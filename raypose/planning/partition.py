"""Who predicts what: members share a decode, spread over GPUs, or a video is split.

A pure function of the work and the number of GPUs:

- as many sessions as GPUs, or more: one decode feeds all members of a session (share);
- fewer sessions than GPUs: the members spread over GPUs;
- fewer pairs than GPUs, or a video longer than a chunk: frame ranges, cut at keyframes (split).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

MIN_RANGE = 256
"""A range shorter than this (in frames) is not worth a task of its own."""


@dataclass(frozen=True, slots=True)
class PredictDemand:
    """What one session asks of the GPUs.

    Attributes:
        n_frames: frames of the video.
        models: indices of the models that must predict it.
        done: for each of these, the ranges `(start, stop)` that are finished.
        keyframes: returns the frames at which a cut costs nothing, ascending; called where a
            video is cut.
    """

    n_frames: int
    models: tuple[int, ...]
    done: tuple[tuple[tuple[int, int], ...], ...] = ()
    keyframes: Callable[[], Sequence[int]] = tuple


@dataclass(frozen=True, slots=True)
class Shard:
    """One GPU task: some models on a range of frames."""

    models: tuple[int, ...]
    start: int
    stop: int


def partition(work: Sequence[PredictDemand], n_gpus: int, chunk_frames: int) -> list[list[Shard]]:
    """The GPU tasks of each session, in order of frames.

    Args:
        work: what the sessions ask for.
        n_gpus: GPU workers there are, at least 1.
        chunk_frames: longest range.

    Returns:
        For each session its shards. For every model they cover each frame that is not finished
        exactly once, except that members with unlike finished ranges may predict some again.
    """
    active = [w for w in work if w.models]
    n_sessions = max(1, len(active))
    result: list[list[Shard]] = []
    for w in work:
        if not w.models:
            result.append([])
            continue
        n_groups = min(len(w.models), ceil(n_gpus / n_sessions))
        n_ranges = ceil(n_gpus / (n_sessions * n_groups))
        shards = []
        for group in _groups(tuple(range(len(w.models))), n_groups):
            models = tuple(w.models[i] for i in group)
            done = _common([w.done[i] for i in group]) if w.done else ()
            for start, stop in _gaps(done, w.n_frames):
                length = min(chunk_frames, max(MIN_RANGE, ceil(w.n_frames / n_ranges)))
                shards += [Shard(models, a, b) for a, b in _cut(start, stop, length, w.keyframes)]
        result.append(sorted(shards, key=lambda share: (share.start, share.models)))
    return result


def _groups(items: tuple[int, ...], n: int) -> list[tuple[int, ...]]:
    """`items` in `n` groups, in order, that differ by at most one in size."""
    bounds = [round(i * len(items) / n) for i in range(n + 1)]
    return [items[a:b] for a, b in pairwise(bounds)]


def _common(done: Sequence[tuple[tuple[int, int], ...]]) -> tuple[tuple[int, int], ...]:
    """Ranges that are finished for every member; all others are predicted for the group."""
    shared = set(done[0]).intersection(*map(set, done[1:]))
    return tuple(sorted(shared))


def _gaps(done: Sequence[tuple[int, int]], n_frames: int) -> list[tuple[int, int]]:
    """What the finished ranges leave to do."""
    gaps = []
    position = 0
    for start, stop in done:
        if start > position:
            gaps.append((position, start))
        position = max(position, stop)
    if position < n_frames:
        gaps.append((position, n_frames))
    return gaps


def _cut(
    start: int, stop: int, length: int, read_keyframes: Callable[[], Sequence[int]]
) -> list[tuple[int, int]]:
    """Ranges of about `length` frames, never longer, cut at keyframes where one is near.

    A cut moves back to the last keyframe in the second half of its range; where there is none
    it stays, and the worker decodes from the keyframe before.
    """
    n = ceil((stop - start) / length)
    if n <= 1:
        return [(start, stop)]
    keyframes = read_keyframes()
    ranges = []
    position = start
    while stop - position > length:
        ideal = position + ceil((stop - position) / ceil((stop - position) / length))
        i = bisect_right(keyframes, ideal) - 1
        near = keyframes[i] if i >= 0 else -1
        cut = near if near > position + (ideal - position) // 2 else ideal
        ranges.append((position, cut))
        position = cut
    ranges.append((position, stop))
    return ranges
