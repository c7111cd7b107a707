"""How a plan grows with the number of videos, up to 20,000 videos × 3 models.

Each video is a clip of 100 frames of its own content. `cold` is the first plan; `warm` is the
same plan again, of which raypose remembers the videos; `finished` is the plan after all outputs
have been committed, as a run that is repeated makes it. Seconds of processor time are those of
all processes, and do not depend on what else the machine does as wall time does.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness

sys.path.insert(0, str(Path(__file__).parents[1]))

N_MODELS = 3
N_FRAMES = 100
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
    seconds = time.perf_counter() - began
    peak = next(
        int(line.split()[1]) // 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    times = os.times()
    cpu_s = times.user + times.system + times.children_user + times.children_system
    told = {"videos": plan.n_videos, "done": plan.done, "seconds": seconds, "cpu_s": cpu_s}
    print(json.dumps({**told, "peak_memory_mib": peak}))
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


def child(root: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", str(root), *options]
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
            "warm": child(root, "--finish"),
            "finished": child(root),
        }
    assert all(row["videos"] == n for row in rows.values()), rows
    assert [row["done"] for row in rows.values()] == [False, False, True], rows
    return {"videos": n, **rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a small size, nothing is saved")
    parser.add_argument("--videos", type=int, nargs="+", default=[1000, 5000, 20_000])
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--finish", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        plan_and_measure(args.child, finish=args.finish)
        return
    rows = [measure(n) for n in ([20] if args.tiny else args.videos)]
    last = rows[-1]
    result = {
        "work": f"plans of up to {last['videos']:,} videos × {N_MODELS} models",
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
