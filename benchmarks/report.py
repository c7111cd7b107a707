"""Benchmark of the report: 500 videos × 3 models, written from their records and small files.

Goals: 10 s to write on 2 cores, 20 MB, 2 s to open in a browser (`--browser chromium`, which needs
the dev dependencies). There is no peer. The best of three counts, and of writing, which one thread
does, also its processor time: other work on the machine does not touch that.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.reports import commit_table, describe_run, make_review, make_table

MODELS = ("model_a", "model_b", "model_c")
N_KEYPOINTS, N_FRAMES = 17, 20_000
GOAL_S, GOAL_BYTES, GOAL_OPEN_S = 10.0, 20_000_000, 2.0
REPEATS = 3
_N_DIFFERENT = 12  # reviews, of which the others are copies


def make(out: Path, n_videos: int, n_frames: int) -> None:
    """The outputs of a run; a few reviews with noisy traces serve for all tables."""
    names = [f"keypoint_{k}" for k in range(N_KEYPOINTS)]
    reviews = [
        make_review(make_table(n_frames, names, seed=i, jumps=i, unlikely=i / 50), pictures=True)
        for i in range(_N_DIFFERENT)
    ]
    videos = [f"session_{v:04d}" for v in range(n_videos)]
    for v, key in enumerate(videos):
        for m, model in enumerate(MODELS):
            review = reviews[(v * len(MODELS) + m) % _N_DIFFERENT]
            commit_table(out, model, key, review, n_frames=n_frames)
    describe_run(out, videos, MODELS, n_frames=n_frames)


def measure(out: Path, browser: str) -> dict[str, Any]:
    from raypose.report.html import write_report

    seconds, cpu_seconds = [], []
    for _ in range(REPEATS):
        began, cpu_began = time.perf_counter(), time.process_time()
        page, summary = write_report(out)
        seconds.append(round(time.perf_counter() - began, 2))
        cpu_seconds.append(round(time.process_time() - cpu_began, 2))
    result: dict[str, Any] = {
        "write_s": seconds,
        "write_cpu_s": cpu_seconds,
        "page_bytes": page.stat().st_size,
        "summary_rows": len(summary.read_text().splitlines()) - 1,
    }
    if browser:
        result["open_s"] = [round(open_in(browser, page), 2) for _ in range(REPEATS)]
    return result


def open_in(browser: str, page: Path) -> float:
    """Seconds from the request until scripts have run and the first screen can be used."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--disable-gpu"]
        )
        tab = chromium.new_page()
        began = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="load")
        tab.get_by_label("Name").fill("session_0001")
        tab.get_by_text("1 of ").wait_for()
        took = time.perf_counter() - began
        chromium.close()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--browser", default="", help="path of Chromium, to measure opening")
    options = parser.parse_args()
    n_videos, n_frames = (6, 600) if options.tiny else (500, N_FRAMES)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        make(out, n_videos, n_frames)
        result = measure(out, options.browser)
    assert result["summary_rows"] == n_videos * len(MODELS)
    met = {
        "write": min(result["write_s"] + result["write_cpu_s"]) < GOAL_S,
        "size": result["page_bytes"] < GOAL_BYTES,
        "open": min(result.get("open_s", [0.0])) < GOAL_OPEN_S,
    }
    assert all(met.values()), (met, result)
    work = f"{n_videos} videos × {len(MODELS)} models, {N_KEYPOINTS} keypoints"
    harness.report("report", {"work": work, **result}, ("numpy", "jinja2"), tiny=options.tiny)


if __name__ == "__main__":
    main()
