"""Splits predictions over GPUs: members share a decode, spread over GPUs, or a video is cut.

A pure function of the demands and the number of GPUs:

- as many demands as GPUs, or more: one decode feeds all members;
- fewer demands than GPUs: the members spread over GPUs;
- fewer pairs than GPUs, or a video longer than a chunk: ranges of frames, cut at keyframes;
- GPUs that would not end together: shorter ranges, as far as that brings the end forward.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from math import ceil

MIN_RANGE = 256
"""A range shorter than this (in frames) is not worth a task of its own."""

_RANGE_COST = 256
"""What a range costs besides its frames (opening the video, storing the rows), in frames."""

_BALANCED = 1.02
"""GPUs end together if the last one ends this close to the mean of all."""


@dataclass(frozen=True, slots=True)
class PredictDemand:
    """What a group of models still has to predict of a video, or of all views at once.

    Attributes:
        models: indices of the models.
        done: for each of these, the ranges `(start, stop)` that are finished of every video.
        keyframes: returns the frames at which a cut costs nothing, ascending; asked only where a
            video is cut.
        videos: indices of the videos of their recording.
    """

    n_frames: int
    models: tuple[int, ...]
    done: tuple[tuple[tuple[int, int], ...], ...] = ()
    keyframes: Callable[[], Sequence[int]] = tuple
    videos: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class Shard:
    """One GPU task: some models on a range of frames."""

    models: tuple[int, ...]
    start: int
    stop: int

    @property
    def cost(self) -> int:
        return _RANGE_COST + len(self.models) * (self.stop - self.start)


def partition(
    demands: Sequence[PredictDemand], n_gpus: int, chunk_frames: int
) -> list[list[Shard]]:
    """The GPU tasks of each demand, in order of frames.

    For every model they cover each frame that is not finished exactly once, except that members
    with different finished ranges may predict some again.

    Args:
        n_gpus: number of GPU workers, at least 1.
        chunk_frames: longest range.
    """
    return _shards(demands, n_gpus, _longest_range(demands, n_gpus, chunk_frames))


def _longest_range(demands: Sequence[PredictDemand], n_gpus: int, chunk_frames: int) -> int:
    """The length of ranges with which the last GPU ends first; the longest of those that tie."""
    # Keyframes move cuts a little and are costly to read, so the estimate ignores them.
    even = [replace(demand, keyframes=tuple) for demand in demands]
    longest = best = min(chunk_frames, max((demand.n_frames for demand in demands), default=1))
    end, mean = _end_and_mean(_shards(even, n_gpus, longest), n_gpus)
    best_end = end
    while end > _BALANCED * mean and longest >= 2 * MIN_RANGE:
        longest //= 2
        end, mean = _end_and_mean(_shards(even, n_gpus, longest), n_gpus)
        if end < best_end:
            best, best_end = longest, end
    return best


def _shards(demands: Sequence[PredictDemand], n_gpus: int, longest: int) -> list[list[Shard]]:
    """The shards of each demand, with ranges of at most `longest` frames."""
    n_demands = max(1, sum(bool(demand.models) for demand in demands))
    result: list[list[Shard]] = []
    for demand in demands:
        n_groups = max(1, min(len(demand.models), ceil(n_gpus / n_demands)))
        n_ranges = ceil(n_gpus / (n_demands * n_groups))
        length = min(longest, max(MIN_RANGE, ceil(demand.n_frames / n_ranges)))
        shards = []
        for group in _groups(tuple(range(len(demand.models))), n_groups):
            models = tuple(demand.models[i] for i in group)
            # Those that are finished for every member; all others are predicted for the group.
            kept = [set(demand.done[i]) for i in group] if demand.done else []
            done = sorted(set.intersection(*kept)) if kept else []
            for start, stop in _gaps(done, demand.n_frames) if models else ():
                ranges = _cut(start, stop, length, demand.keyframes)
                shards += [Shard(models, a, b) for a, b in ranges]
        result.append(sorted(shards, key=lambda shard: (shard.start, shard.models)))
    return result


def _end_and_mean(shards: Sequence[Sequence[Shard]], n_gpus: int) -> tuple[float, float]:
    """When the last GPU ends and when all do on average, if the longest demands go first."""
    costs = [sorted((s.cost for s in of_demand), reverse=True) for of_demand in shards]
    costs.sort(key=sum, reverse=True)
    ends = [0] * n_gpus
    for cost in chain.from_iterable(costs):
        heapq.heapreplace(ends, ends[0] + cost)
    return max(ends), sum(ends) / n_gpus


def _groups(items: tuple[int, ...], n: int) -> list[tuple[int, ...]]:
    """`items` in `n` groups, in order, that differ by at most one in size."""
    bounds = [round(i * len(items) / n) for i in range(n + 1)]
    return [items[a:b] for a, b in pairwise(bounds)]


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
