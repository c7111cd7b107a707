"""Which of many bad frames to label: the worst, spread over videos and poses. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

# Frames to choose from, relative to the number wanted: more give more varied poses, fewer give
# worse frames.
_POOL = 3
# Two frames of a video closer than this show the same pose, in sizes of the animal (RMS).
_SAME_POSE = 0.1
_MOST_CLUSTERED = 4000  # clustering takes the distances between all of them


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A bad frame that may be worth a label.

    Attributes:
        video: key of its video.
        frame: its number.
        score: how bad it looks, as `metrics.worst` has it.
        reason: the part that adds most to the score.
        keypoint_names: in the order of `xy`.
        xy: predicted keypoints in pixels, (n_keypoints, 2).
        size_px: size of the animal in the video.
    """

    video: str
    frame: int
    score: float
    reason: str
    keypoint_names: tuple[str, ...]
    xy: npt.NDArray[np.floating[Any]]
    size_px: float


def most_of_a_video(n: int, n_videos: int) -> int:
    """How many of `n` frames one video may have, while others have some as well."""
    return max(1, ceil(2 * n / n_videos))


def choose(candidates: Sequence[Candidate], n: int) -> list[Candidate]:
    """Put candidates in the order in which they should be labelled, and leave out duplicates.

    Poses are clustered. The worst frame of each cluster comes first, with a limit on the frames of
    one video; then the others, within the limit and beyond it. Of frames of a video that show the
    same pose, the worst stays.

    Args:
        candidates: of all videos.
        n: frames that will be labelled; decides how fine the clusters are.

    Returns:
        Candidates, the first `n` of which are to be labelled; the rest may take the place of some
        that can't be.
    """
    most = most_of_a_video(n, len({candidate.video for candidate in candidates}) or 1)
    pool = sorted(candidates, key=lambda c: (-c.score, c.video, c.frame))[: _POOL * n]
    pool = _without_doubles(pool)
    clusters = _clusters(pool, n)
    order: list[int] = []
    n_of_video: Counter[str] = Counter()
    used: set[int] = set()
    for one_per_cluster, limited in ((True, True), (False, True), (False, False)):
        for i, candidate in enumerate(pool):
            if i in order or (one_per_cluster and clusters[i] in used):
                continue
            if limited and n_of_video[candidate.video] >= most:
                continue
            order.append(i)
            used.add(clusters[i])
            n_of_video[candidate.video] += 1
    return [pool[i] for i in order]


def _without_doubles(pool: Sequence[Candidate]) -> list[Candidate]:
    """Candidates whose pose no earlier one of the same video has."""
    kept: dict[str, list[npt.NDArray[np.floating[Any]]]] = {}
    different = []
    for candidate in pool:
        pose = candidate.xy / candidate.size_px
        others = kept.setdefault(candidate.video, [])
        if not any(_distance(pose, other) < _SAME_POSE for other in others):
            others.append(pose)
            different.append(candidate)
    return different


def _distance(pose: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """RMS distance of the keypoints that both poses have; infinite where there is none."""
    squares = np.square(pose - other).sum(axis=1)
    known = np.isfinite(squares)
    return float(np.sqrt(squares[known].mean())) if known.any() else np.inf


def _clusters(pool: Sequence[Candidate], n: int) -> list[int]:
    """The cluster of each candidate's pose: up to `n` of them, by Ward's method."""
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(pool) < 3 or len(pool) > _MOST_CLUSTERED:
        return list(range(len(pool)))
    poses = np.stack([(c.xy / c.size_px).ravel() for c in pool]).astype(np.float64)
    known = np.isfinite(poses)
    # A keypoint that was not found lies in the middle of all.
    middle = [
        float(np.median(column[seen])) if seen.any() else 0.0
        for column, seen in zip(poses.T, known.T, strict=True)
    ]
    poses = np.where(known, poses, middle)
    return [int(cluster) for cluster in fcluster(linkage(poses, "ward"), n, "maxclust")]
