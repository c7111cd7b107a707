"""What a user waits for before any work is done: `raypose --help`, and a plan of many videos.

No peer plans, so there are goals instead. The plan's videos are one file under many names: each
is indexed and fingerprinted as if it were another. `planned again` is a second plan of the same
videos, of which raypose remembers what it saw.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
import tiny

from raypose.video.index import index_video

RAYPOSE = (sys.executable, "-m", "raypose")
GOALS_S = {"help": 0.5, "plan": 20.0}


def timed(
    arguments: list[str], environment: dict[str, str], repeats: int
) -> tuple[dict[str, Any], str]:
    """Seconds of a command, and the last line that it printed."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        ran = subprocess.run(
            [*RAYPOSE, *arguments], env=environment, capture_output=True, text=True, check=True
        )
        seconds.append(time.perf_counter() - began)
    took = {"seconds": seconds, "median_s": statistics.median(seconds)}
    return took, ran.stdout.strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    tiny.add_arguments(parser)
    parser.add_argument("--tiny", action="store_true", help="a small size, nothing is saved")
    parser.add_argument("--repeats", type=int, default=9, help="of --help")
    args = parser.parse_args()
    n_videos = 10 if args.tiny else 1000
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model, video = stack.enter_context(tiny.model_and_video(parser, args))
        videos = directory / "videos"
        videos.mkdir()
        for n in range(n_videos):
            (videos / f"video{n:04d}{video.suffix}").symlink_to(video)
        environment = {**os.environ, "RAYPOSE_CACHE_DIR": str(directory / "cache")}
        plan = ["plan", str(videos), "--model", str(model)]
        helped, _ = timed(["--help"], environment, 1 if args.tiny else args.repeats)
        planned, total = timed(plan, environment, 1)
        again, total_again = timed(plan, environment, 1)
    n_frames = n_videos * index_video(video).n_frames
    if not total.startswith(f"{n_frames:,} frames to predict") or total_again != total:
        raise SystemExit(f"not the plan of {n_frames:,} frames: {total} / {total_again}")
    sides = {"help": helped, "plan": planned, "planned again": again}
    result = {
        "work": f"raypose --help; raypose plan of {n_videos} videos, {n_frames} frames in all",
        "videos": n_videos,
        "frames": n_frames,
        "sides": sides,
        "goals": {
            name: {"below_s": goal, "met": sides[name]["median_s"] < goal}
            for name, goal in GOALS_S.items()
        },
    }
    harness.report("startup", result, ("raypose", "typer", "av"), tiny=args.tiny)
    missed = [name for name, goal in result["goals"].items() if not goal["met"]]
    if missed and not args.tiny:
        raise SystemExit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
