"""How planning, `status` and `report` grow with the number of videos, up to 20,000 × 3 models.

Each video is a clip of 100 frames of its own content. `cold` is the first plan; `warm` is the
same plan again, of which raypose remembers the videos; `finished` is the plan after all outputs
have been committed, as a run that is repeated makes it. `status` and `report` are of a run of as
many videos with made-up results, of which one in a hundred can't be read, and another one has
damaged frames. Seconds of processor time are those of all processes, and do not depend on what
else the machine does as wall time does.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness

sys.path.insert(0, str(Path(__file__).parents[1]))

N_MODELS = 3
N_FRAMES = 100
MODELS = tuple(f"model_{i}" for i in range(N_MODELS))
KINDS = ("table", "metrics", "quality", "review")
N_KEYPOINTS = 17
N_DIFFERENT = 12  # reviews, of which the others are copies
GOALS_S = {"cold": 60.0, "warm": 10.0, "finished": 30.0}
MOST_MIB = 600


def make_videos(folder: Path, n: int) -> None:
    """Files that differ in a number behind the video, which players skip."""
    from tests.videos import make_video

    folder.mkdir()
    clip = make_video(folder.with_name("clip.mp4"), n_frames=N_FRAMES, width=64, height=48)
    content = clip.read_bytes()
    for i in range(n):
        number = struct.pack(">I4sQ", 16, b"free", i)
        (folder / f"video{i:05d}.mp4").write_bytes(content + number)


def is_unreadable(i: int) -> bool:
    return i % 100 == 0


def is_damaged(i: int) -> bool:
    return i % 100 == 50


def make_results(out: Path, n: int) -> None:
    """What a run leaves behind, as far as the report reads it, and the run's log."""
    import numpy as np

    from raypose.video.frames import Frames
    from tests.reports import commit_table, describe_run, make_picture, make_review, make_table

    os.fsync = lambda handle: None  # a power failure costs a benchmark nothing
    names = [f"keypoint_{k}" for k in range(N_KEYPOINTS)]
    tables = [
        make_table(N_FRAMES, names, seed=i, jumps=i, unlikely=i / 50) for i in range(N_DIFFERENT)
    ]
    reviews = [
        replace(make_review(table), thumbnail=make_picture(120, i))
        for i, table in enumerate(tables)
    ]
    statuses = np.zeros(N_FRAMES, np.int8)
    statuses[40:60] = 2
    frames = Frames(np.arange(N_FRAMES) / 25, statuses)
    damaged = make_review(make_table(N_FRAMES, names, frames=frames))
    keys = [f"session_{i:05d}" for i in range(n)]
    for i, key in enumerate(keys):
        review = damaged if is_damaged(i) else reviews[i % N_DIFFERENT]
        for model in MODELS if not is_unreadable(i) else ():
            commit_table(out, model, key, review, n_frames=N_FRAMES)
    failures = {key: "none of its frames can be decoded" for key in keys[::100]}
    directory = describe_run(out, keys, MODELS, failures=failures, n_frames=N_FRAMES)
    with (directory / "events.jsonl").open("w", encoding="utf-8") as file:
        for k, event in enumerate(run_events(keys)):
            file.write(json.dumps({"time": 1_790_000_000 + k / 100, **event}) + "\n")


def run_events(keys: list[str]) -> Iterator[dict[str, Any]]:
    """The log of a run of these videos: two events for each of 13 tasks per video."""
    driver = {"host": socket.gethostname(), "pid": os.getpid()}
    total = {"predict": len(keys), **{kind: N_MODELS * len(keys) for kind in KINDS}}
    n_frames = len(keys) * N_MODELS * N_FRAMES
    yield {"event": "planned", "n_recordings": len(keys), **driver}
    yield {"event": "started", "on": "8 GPUs", "tasks": total, "n_frames": n_frames}
    for i, key in enumerate(keys):
        tasks = [("predict", "+".join(MODELS), N_MODELS)]
        tasks += [(kind, model, 1) for model in MODELS for kind in KINDS]
        for kind, owner, n in tasks:
            task = {"task": f"{kind}/{key}/{owner}", "worker": f"node1:{n} cpu 0"}
            told: dict[str, Any] = {"videos": [key], "n_made": n, "seconds": 0.1, "facts": {}}
            if kind == "predict":
                told["facts"] = {"n_frames": N_FRAMES, "device": "cuda", "predict_s": 0.1}
            if is_unreadable(i):
                said = {"step": kind, "message": "none of its frames can be decoded", "hint": ""}
                skipped = {"path": f"/videos/{key}.mp4", "skipped": kind != "predict"}
                told |= {"n_made": 0, "failures": [{**said, **skipped}]}
            if is_damaged(i):
                told["damaged"] = {f"/videos/{key}.mp4": {"ok": 80, "corrupt": 20}}
            yield {"event": "task started", **task}
            subject = {"kind": kind, "subject": f"{owner} · {key}"}
            yield {"event": "task finished", **task, **subject, **told}
    yield {"event": "ended", "seconds": 1.0, "failures": 0}


def status_and_measure(root: Path) -> None:
    """In a child: what `raypose status` reads and prints, on a terminal of 100 columns."""
    from rich.console import Console

    from raypose.report.status import read_status
    from raypose.report.status_view import print_status

    text = io.StringIO()
    began = time.perf_counter()
    status = read_status(root / "out")
    print_status(Console(file=text, width=100), status)
    lines = len(text.getvalue().splitlines())
    print_measured(began, lines=lines, failures=len(status.failures))


def report_and_measure(root: Path) -> None:
    """In a child: write the report."""
    from raypose.report.html import write_report

    began = time.perf_counter()
    page, _ = write_report(root / "out")
    print_measured(began, page_mb=round(page.stat().st_size / 1e6, 1))


def print_measured(began: float, **told: Any) -> None:
    """In a child: how long it took, and its peak memory; `began` is of `perf_counter`."""
    seconds = time.perf_counter() - began
    peak = next(
        int(line.split()[1]) // 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    times = os.times()
    cpu_s = times.user + times.system + times.children_user + times.children_system
    took = {"seconds": round(seconds, 2), "cpu_s": round(cpu_s, 2), "peak_memory_mib": peak}
    print(json.dumps({**told, **took}))


def plan_and_measure(root: Path, *, finish: bool) -> None:
    """In a child: plan, and then, if asked, commit something under each output."""
    import raypose
    from raypose.config import RunConfig

    config = RunConfig(
        videos=(str(root / "videos"),),
        models=tuple(str(root / f"model{i}") for i in range(N_MODELS)),
        output_dir=root / "out",
    )
    began = time.perf_counter()
    plan = raypose.plan(config)
    print_measured(began, videos=plan.n_videos, done=plan.done)
    if finish:
        commit_all(plan)


def commit_all(plan: Any) -> None:
    from raypose.storage import commits
    from raypose.storage.origins import VideoRead

    os.fsync = lambda handle: None  # a power failure costs a benchmark nothing
    for _, planned in plan.steps:
        for path, provenance, video in planned.step.expected():
            read = [VideoRead(video.fingerprint, video.identity)]
            with commits.committing(
                Path(path), provenance, source=video.path, videos=lambda read=read: read
            ) as temporary:
                temporary.write_text(path)


def child(root: Path, part: str = "plan", *options: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", part, "--root", str(root), *options]
    environment = {**os.environ, "RAYPOSE_CACHE_DIR": str(root / "cache")}
    ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return result


def measure(n: int) -> dict[str, Any]:
    from tests.projects import fake_model

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_videos(root / "videos", n)
        for i in range(N_MODELS):
            fake_model(root / f"model{i}")
        rows = {
            "cold": child(root),
            "warm": child(root, "plan", "--finish"),
            "finished": child(root),
        }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_results(root / "out", n)
        read = {part: child(root, part) for part in ("status", "report")}
    assert all(row["videos"] == n for row in rows.values()), rows
    assert [row["done"] for row in rows.values()] == [False, False, True], rows
    assert read["status"]["failures"] == len(range(0, n, 100)), read
    return {"videos": n, **rows, **read}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a small size, nothing is saved")
    parser.add_argument("--videos", type=int, nargs="+", default=[1000, 5000, 20_000])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--finish", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    match args.child:
        case "plan":
            return plan_and_measure(args.root, finish=args.finish)
        case "status":
            return status_and_measure(args.root)
        case "report":
            return report_and_measure(args.root)
    rows = [measure(n) for n in ([20] if args.tiny else args.videos)]
    last = rows[-1]
    result = {
        "work": f"plan, status and report of up to {last['videos']:,} videos × {N_MODELS} models",
        "rows": rows,
        "goals": {
            **{
                name: {"below_s": goal, "met": last[name]["seconds"] < goal}
                for name, goal in GOALS_S.items()
            },
            "memory": {
                "below_mib": MOST_MIB,
                "met": max(last[name]["peak_memory_mib"] for name in GOALS_S) < MOST_MIB,
            },
        },
    }
    harness.report("scale", result, ("raypose", "av"), tiny=args.tiny)


if __name__ == "__main__":
    main()
