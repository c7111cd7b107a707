"""The HTML of a report, from a template, with everything that it needs inside."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from raypose._version import __version__
from raypose.errors import UsageError
from raypose.metrics.review import LIKELIHOOD_EDGES, PIXEL_EDGES
from raypose.report import ranking
from raypose.report.html import payload
from raypose.report.html.outputs import (
    TableFacts,
    VideoFacts,
    find_videos,
    read_reviews,
)
from raypose.report.html.run_facts import Failed, RunFacts, bottleneck, read_run
from raypose.report.html.summary import summary_csv
from raypose.report.ranking import WEIGHTS, Part
from raypose.report.terminal import duration
from raypose.storage import AnyPath, run_log, write_text
from raypose.text import json_text, shown
from raypose.video.frames import describe

PAGE, SUMMARY = "report.html", "summary.csv"

_SCRIPTS = ("uPlot.iife.min.js", "report.js")
_ROWS_AT_ONCE = 500  # of the table: a browser takes seconds to lay out twenty thousand
_STYLES = ("uPlot.min.css", "report.css")


def write_report(directory: Path, output: Path | None = None) -> tuple[Path, Path]:
    """Write the report of a run, and its summary beside it.

    Args:
        directory: the run directory, or the directory of outputs (`-o`) that it is in.
        output: the HTML file; by default `report.html` in the run directory.

    Returns:
        Paths of the page and of the summary.

    Raises:
        UsageError: there is neither a run nor a table in the directory; or `output` is a directory
            or ends with `.csv`.
        StorageError: outputs in a store can't be read.
        OSError: the files can't be written.
    """
    directory = directory.absolute()
    is_run_dir = (directory / run_log.DESCRIPTION).is_file()
    run_dir = directory if is_run_dir else directory / run_log.DIRECTORY
    run = read_run(run_dir)
    base = directory if not is_run_dir else directory.parent if run.among_outputs else None
    videos = find_videos(run, base)
    if not run.description and not videos:
        hint = "Give the directory of a run's outputs (-o), or its run directory."
        raise UsageError("holds no run of raypose", path=directory, hint=hint)
    parts = ranking.rank([_numbers(video) for video in videos])
    order = sorted(range(len(videos)), key=lambda i: (-ranking.score(parts[i]), videos[i].key))
    videos, parts = [videos[i] for i in order], [parts[i] for i in order]
    read_reviews(videos)
    page = run_dir / PAGE if output is None else output.absolute()
    summary = page.with_name(SUMMARY) if output is None else page.with_suffix(".csv")
    if summary == page:
        hint = "Give -o a name that ends with .html."
        raise UsageError("the summary has this name", path=page, hint=hint)
    if page.is_dir():
        raise UsageError("is a directory", path=page, hint="Give -o the name of an HTML file.")
    write_text(page, render(run, videos, parts, page.parent))
    write_text(summary, summary_csv(videos, parts))
    return page, summary


def _numbers(video: VideoFacts) -> dict[str, ranking.Numbers]:
    return {owner: table.numbers for owner, table in video.tables.items()}


def render(
    run: RunFacts,
    videos: Sequence[VideoFacts],
    parts: Sequence[Mapping[str, Part]],
    folder: Path,
) -> str:
    """The HTML of a report.

    Args:
        run: the run.
        videos: in the order of their ranks.
        parts: of the score of each.
        folder: where the page will be; links are relative to it.
    """
    detail = payload.choose_detail(videos)
    pictures = payload.choose_pictures(videos)
    rows = []
    for i, (video, of_video) in enumerate(zip(videos, parts, strict=True)):
        rows.append(_row(i, video, of_video))
        traces = payload.traces_of(video, detail) if i < detail.n_videos else {}
        of_owners = {
            shown(owner): {frame: payload.picture_url(p) for frame, p in of_owner.items()}
            for owner, of_owner in pictures[i].items()
        }
        section = payload.packed(_section(video, of_video, traces, folder))
        rows[-1]["content"] = _inline_json({"data": section, "pictures": of_owners})
    scripts, styles = ([_asset(name) for name in names] for names in (_SCRIPTS, _STYLES))
    name, why = bottleneck(run)
    html: str = _template().render(
        version=__version__,
        policy=_policy(scripts, styles),
        scripts=scripts,
        styles=styles,
        run=run,
        overview=_overview(run, videos),
        failures=list(map(_failure, run.failures)),
        notes=[(shown(subject), shown(sentence)) for subject, sentence in run.notes],
        bottleneck=(name, why),
        workers=_workers(run),
        kinds=[
            (kind, run.tasks[kind], seconds, seconds / (sum(run.seconds.values()) or 1.0))
            for kind, seconds in sorted(run.seconds.items(), key=lambda item: -item[1])
        ],
        rows=rows,
        rows_at_once=_ROWS_AT_ONCE,
        weights=WEIGHTS,
        settings=_inline_json(
            {
                "likelihood": LIKELIHOOD_EDGES.tolist(),
                "pixels": PIXEL_EDGES.tolist(),
                "rows_at_once": _ROWS_AT_ONCE,
            }
        ),
        duration=duration,
    )
    return html


def _overview(run: RunFacts, videos: Sequence[VideoFacts]) -> dict[str, Any]:
    listed = run.description.get("models")
    models = [m for m in (listed if isinstance(listed, list) else ()) if isinstance(m, dict)]
    tables = sum(len(video.tables) for video in videos)
    damaged = [video for video in videos if any(t.numbers.not_ok for t in video.tables.values())]
    return {
        "models": [shown(str(model.get("name", ""))) for model in models],
        "n_videos": len(videos),
        "n_tables": tables,
        "n_without": sum(not video.tables for video in videos),
        "n_damaged": len(damaged),
        "when": time.strftime("%Y-%m-%d %H:%M", time.localtime(run.began)) if run.began else "",
        "video_s": sum(v.n_frames / v.fps for v in videos if v.fps > 0),
        "n_frames": sum(video.n_frames for video in videos),
        "on": shown(run.on),
    }


def _failure(failed: Failed) -> dict[str, str]:
    names = ("subject", "step", "message", "hint", "path")
    return {name: shown(getattr(failed, name)) for name in names}


def _workers(run: RunFacts) -> list[dict[str, Any]]:
    return [
        {
            "name": shown(name),
            "frames_per_s": worker.frames_per_s,
            "n_frames": worker.n_frames,
            "busy": min(1.0, worker.busy_s / run.running_s),
            "waited": worker.waited_s / worker.predict_s if worker.predict_s else None,
            "n_tasks": worker.n_tasks,
        }
        for name, worker in sorted(run.workers.items())
    ]


def _row(number: int, video: VideoFacts, parts: Mapping[str, Part]) -> dict[str, Any]:
    """What the table of all videos shows of one."""
    return {
        "number": number,
        "name": shown(video.key),
        "score": ranking.score(parts),
        "parts": parts,
        "n_frames": video.n_frames,
        "seconds": video.n_frames / video.fps if video.fps > 0 else None,
        "thumbnail": payload.picture_url(payload.thumbnail_of(video.tables)),
        "failed": bool(video.failures) or not video.tables,
        "missing": not video.tables,
        "reason": shown(video.failures[0].message) if video.failures else "",
        "stands_out": not parts or any(p.points >= WEIGHTS[n] / 2 for n, p in parts.items()),
        "damaged": any(table.numbers.not_ok for table in video.tables.values()),
    }


def _section(
    video: VideoFacts, parts: Mapping[str, Part], traces: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """What the section of a video shows, as JSON."""
    return {
        "name": shown(video.key),
        "path": shown(video.path),
        "n_frames": video.n_frames,
        "fps": video.fps,
        "score": ranking.score(parts),
        "parts": {name: asdict(part) | {"most": WEIGHTS[name]} for name, part in parts.items()},
        "failures": [_failure(failed) for failed in video.failures],
        "models": [_of_table(table, folder) for table in video.tables.values()],
        "traces": traces,
    }


def _of_table(table: TableFacts, folder: Path) -> dict[str, Any]:
    numbers = table.numbers
    counts = dict(numbers.not_ok)
    if numbers.n_frames and numbers.damage is not None:
        counts["ok"] = numbers.n_frames - sum(counts.values())
    return {
        "owner": shown(table.owner),
        "note": shown(table.note),
        "frames": describe(counts) if counts else "",
        "numbers": {
            name: getattr(numbers, name)
            for name in (
                "unlikely",
                "temporal_norm",
                "pca_singleview",
                "pca_multiview",
                "disagreement",
            )
        },
        "moments": table.review.facts["moments"] if table.review else [],
        "files": [
            {"what": what, "name": shown(path.name), "href": _link(path, folder)}
            for what, path in table.files.items()
        ],
    }


def _link(path: AnyPath, folder: Path) -> str:
    """A relative link to a local file; empty for an object, which a browser can't open."""
    if not isinstance(path, Path):
        return ""
    relative = os.path.relpath(path, folder)
    return "./" + quote(os.fsencode(relative))


def _policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """The content security policy: nothing from elsewhere, and no script or style but these."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(map(_source, scripts))}",
            f"style-src {' '.join(map(_source, styles))}",
            "img-src data:",
            # 'self' is not enough for a page that is opened from a disk.
            "media-src 'self' file:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _inline_json(content: Mapping[str, Any]) -> str:
    """JSON that can't end the script element that it is in."""
    return json_text(content, separators=(",", ":")).replace("<", "\\u003c")


@cache
def _asset(name: str) -> str:
    return (
        resources.files(__package__).joinpath("assets").joinpath(name).read_text(encoding="utf-8")
    )


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_asset("report.html.j2"))
