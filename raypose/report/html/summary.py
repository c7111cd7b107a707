"""`summary.csv`: the numbers of the report, one row per video and model, for scripts."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from raypose.report.html.outputs import TableFacts, VideoFacts
from raypose.report.ranking import WEIGHTS, Part, Spread, score
from raypose.text import shown
from raypose.video.frames import WORDS

_SPREADS = ("temporal_norm", "pca_singleview", "pca_multiview", "disagreement")

COLUMNS = (
    *("rank", "score", "video", "model", "path", "n_frames", "fps"),
    *WORDS,
    "below_threshold",
    *(f"{name}_{of}_px" for name in _SPREADS for of in Spread._fields),
    *(f"points_{name}" for name in WEIGHTS),
    *("worst_frame", "worst_time_s", "error"),
)


def summary_csv(videos: Sequence[VideoFacts], parts: Sequence[Mapping[str, Part]]) -> str:
    """The table as text.

    Args:
        videos: in the order of their ranks.
        parts: of the score of each; the same in all rows of a video.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for rank, (video, of_video) in enumerate(zip(videos, parts, strict=True), 1):
        shared = {
            "rank": rank,
            "score": round(score(of_video), 2),
            "video": shown(video.key),
            "path": shown(video.path),
            "fps": round(video.fps, 6) or "",
            "error": "; ".join(shown(failed.message) for failed in video.failures),
            **{f"points_{name}": round(part.points, 2) for name, part in of_video.items()},
        }
        for table in video.tables.values():
            writer.writerow(shared | _row(table))
        if not video.tables:
            writer.writerow(shared | {"n_frames": video.n_frames or ""})
    return text.getvalue()


def _row(table: TableFacts) -> dict[str, Any]:
    numbers = table.numbers
    counts: dict[str, int] = {}
    if numbers.n_frames is not None and numbers.damage is not None:
        counts = {word: numbers.not_ok.get(word, 0) for word in WORDS[1:]}
        counts["ok"] = numbers.n_frames - sum(counts.values())
    moments = table.review.facts["moments"] if table.review else []
    row: dict[str, Any] = {
        "model": shown(table.owner),
        "n_frames": numbers.n_frames,
        **counts,
        "below_threshold": numbers.unlikely,
    }
    for name in _SPREADS:
        spread = getattr(numbers, name)
        if spread is not None:
            row |= {f"{name}_{of}_px": value for of, value in spread._asdict().items()}
    if moments:
        row |= {"worst_frame": moments[0]["frame"], "worst_time_s": moments[0]["time_s"]}
    return {
        name: round(value, 6) if isinstance(value, float) else value
        for name, value in row.items()
        if value is not None
    }
