"""Memory of a run against the length of the video and the size of its frames: what must not grow.

First part: whole runs with Ray of one video of tiny frames and a tiny model, each longer than the
one before; the peaks of the GPU worker, the CPU actors, the driver and the object store are read
from /proc while it goes on. Second part: the same of videos of common sizes up to 8K, with
labelled videos, and the peak of planning each. Third part: EKS and metrics of three members'
tables in memory, in a child process. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import harness
import numpy as np
import tiny
from processes import CPU, DRIVER, PREDICT, STORE, status_mib, timed

KEYPOINTS = tuple(f"keypoint{i}" for i in range(17))
MILLION = 1_000_000
SIZE = 64
SEGMENT = 1000
CHUNK_FRAMES = 50_000
SIZES = (
    (640, 480, 300),
    (1920, 1080, 300),
    (3840, 2160, 100),
    (7680, 4320, 60),
    (640, 480, 10_000),
)
"""Width, height and number of frames."""
PARTS = ("tables", "runs", "growth", "sizes")


# --- a run with Ray --------------------------------------------------------------------------


def write_video(path: Path, width: int, height: int, n_frames: int) -> None:
    """A video of `n_frames` from copies of the packets of one encoded segment."""
    from tests.videos import make_video, repeat_packets

    n_encoded = min(n_frames, max(20, SEGMENT * SIZE * SIZE // (width * height)))
    segment = path.with_name("segment.mp4")
    make_video(segment, n_frames=n_encoded, width=width, height=height, gop=250)
    repeat_packets(path, segment, n_frames)
    segment.unlink()


def run_raypose(
    video: Path, n_frames: int, model: Path, cache: Path, *options: str
) -> dict[str, Any]:
    """One run from command to exit, watched."""
    out = video.with_name("out")
    command = [
        *command_of("run", video, model),
        *("-o", str(out), "--chunk-frames", str(CHUNK_FRAMES), "--device", "cpu", *options),
    ]
    seconds, peaks = timed(command, {"RAYPOSE_CACHE_DIR": str(cache)})
    for role in (DRIVER, PREDICT, CPU, STORE):
        assert role in peaks, (role, peaks)
    events = [json.loads(line) for line in next((out / "raypose").glob("*.jsonl")).open()]
    predict_s = sum(e["seconds"] for e in events if e.get("kind") == "predict" and "seconds" in e)
    (owner,) = (path for path in out.iterdir() if path.name != "raypose")
    tables = {path.name: path for path in (owner / "video_preds").glob("*.csv")}
    with tables[f"{video.stem}.csv"].open("rb") as table:
        n_rows = sum(1 for _ in table) - 3
    assert n_rows == n_frames, (n_rows, n_frames)
    assert f"{video.stem}_temporal_norm.csv" in tables
    shutil.rmtree(out)
    return {
        "frames": n_frames,
        "rows": n_rows,
        "seconds": seconds,
        "predict_frames_per_s": n_frames / predict_s,
        "peak_mib": peaks,
    }


def run_length(root: Path, model: Path, cache: Path, n_frames: int) -> dict[str, Any]:
    """A run of one video of tiny frames."""
    video = root / f"video{n_frames}.mp4"
    write_video(video, SIZE, SIZE, n_frames)
    result = run_raypose(video, n_frames, model, cache)
    video.unlink()
    return result


def run_size(
    root: Path, model: Path, cache: Path, width: int, height: int, n_frames: int
) -> dict[str, Any]:
    """A plan and a run of one video of this size, with the labelled video."""
    video = root / f"{width}x{height}.mp4"
    write_video(video, width, height, n_frames)
    # A cache of its own, so that the video is new to it.
    planning = timed(
        command_of("plan", video, model), {"RAYPOSE_CACHE_DIR": str(root / "another cache")}
    )[1]
    shutil.rmtree(root / "another cache")
    result = run_raypose(video, n_frames, model, cache, "--label", "full")
    video.unlink()
    plan_mib = max(peaks["rss"] for peaks in planning.values())
    return {"width": width, "height": height, "plan_mib": plan_mib, **result}


def command_of(name: str, video: Path, model: Path) -> list[str]:
    return [str(Path(sys.executable).parent / "raypose"), name, str(video), "-m", str(model)]


def make_model(root: Path, cache: Path, side: int) -> Path:
    """A model whose network is in the cache: a child of the driver builds it."""
    from tests import models

    model = models.make_model(
        root / f"model{side}",
        keypoint_names=KEYPOINTS, height=side, width=side, downsample_factor=3,
    )  # fmt: skip
    run_length(root, model, cache, 100)
    return model


def growth(runs: list[dict[str, Any]]) -> dict[str, int]:
    """MiB from the last run but one to the last; ranges of another length are a part of it."""
    before, after = runs[-2:]
    kinds = {DRIVER: "own", STORE: "shared", PREDICT: "own", CPU: "own"}
    return {
        role: after["peak_mib"][role][kind] - before["peak_mib"][role][kind]
        for role, kind in kinds.items()
    }


# --- tables in memory ------------------------------------------------------------------------


def smooth_and_measure(n_frames: int, directory: Path) -> None:
    """In a child: EKS, and metrics of members and ensemble, written as tables; prints peaks."""
    import smoothing

    from raypose.config import EksOptions
    from raypose.eks.recording import smooth_recording
    from raypose.metrics.compute import PcaMetrics, Subspace, compute_metrics
    from raypose.specs import ModelSpec
    from raypose.tables.keypoints import write_csv, write_metric_csv

    def subspace(n_dims: int, n_kept: int) -> Subspace:
        basis = np.linalg.qr(np.random.default_rng(0).normal(size=(n_dims, n_dims)))[0]
        return Subspace(np.full(n_dims, 300, np.float32), basis[:n_kept].astype(np.float32))

    spec = ModelSpec("m", "", "", "", "", "heatmap", "resnet18", KEYPOINTS, SIZE, SIZE)
    pca = PcaMetrics(
        columns=tuple(range(17)),
        singleview=subspace(34, 10),
        views=(tuple(range(8)), tuple(range(8, 16))),
        multiview=subspace(4, 3),
    )
    members = {str(i): m for i, m in enumerate(smoothing.make_members(n_frames))}
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
    report: dict[str, Any] = {"tables_mib": round(status_mib("self")["VmHWM"])}
    began = time.perf_counter()
    smoothed = smooth_recording({"": members}, EksOptions(), threads=4).tables[""]
    write_csv(smoothed, directory / "eks.csv")
    report["eks"] = {"seconds": time.perf_counter() - began}
    report["eks"]["peak_mib"] = round(status_mib("self")["VmHWM"])
    Path("/proc/self/clear_refs").write_text("5")
    began = time.perf_counter()
    for table in (*members.values(), smoothed):
        for name, values in compute_metrics(table, spec, pca).items():
            write_metric_csv(directory / f"{name}.csv", KEYPOINTS, values)
    report["metrics"] = {"seconds": time.perf_counter() - began}
    report["metrics"]["peak_mib"] = round(status_mib("self")["VmHWM"])
    sys.stdout.write(json.dumps(report) + "\n")


def run_tables(n_frames: int, root: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--tables", str(n_frames), "--directory", str(root)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(ran.stdout.strip().splitlines()[-1])
    peak = max(result["eks"]["peak_mib"], result["metrics"]["peak_mib"])
    assert peak < 4096, peak
    return {"frames": n_frames, "keypoints": 17, "members": 3, "peak_mib": peak, **result}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a small size, nothing is saved")
    parser.add_argument("--frames", type=int, nargs="+", default=[20_000, 100_000, MILLION])
    parser.add_argument("--part", choices=("run", "tables", "sizes"), help="only this part")
    parser.add_argument("--project", type=Path, help="with --tiny: what tiny.py made")
    parser.add_argument("--tables", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    if args.tables:
        smooth_and_measure(args.tables, args.directory)
        return
    result: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cache, model = root / "cache", None
        if args.tiny:
            project = stack.enter_context(tiny.project_at(args.project))
            cache, model = project.cache, project.model
        if args.part in (None, "tables"):
            result["tables"] = run_tables(2_000 if args.tiny else MILLION, root)
        if args.part in (None, "run"):
            of_runs = model or make_model(root, cache, 32)
            lengths = [500] if args.tiny else args.frames
            result["runs"] = [run_length(root, of_runs, cache, n) for n in lengths]
            if len(lengths) > 1:
                result["growth"] = growth(result["runs"])
        if args.part in (None, "sizes"):
            of_sizes = model or make_model(root, cache, 64)
            sizes = [(320, 240, 40)] if args.tiny else SIZES
            result["sizes"] = []
            for size in sizes:
                result["sizes"].append(run_size(root, of_sizes, cache, *size))
                print(json.dumps(result["sizes"][-1]), flush=True)
    save(result, tiny=args.tiny)


def save(result: dict[str, Any], *, tiny: bool) -> None:
    """Keep what the last run of the other parts has measured."""
    path, now = harness.RESULTS / "memory.json", datetime.now(timezone.utc)
    where = {"when": now.isoformat(timespec="seconds"), "on": harness.machine()["processor"]}
    measured = dict.fromkeys(result, where)
    if not tiny and path.exists():
        before = json.loads(path.read_text())
        result = {**{k: before[k] for k in PARTS if k in before}, **result}
        measured = {**before.get("measured", {}), **measured}
    result["measured"] = measured
    lengths = [run["frames"] for run in result.get("runs", [])]
    result["work"] = (
        f"raypose run on Ray, CPU, one video of {SIZE}×{SIZE} of "
        f"{', '.join(f'{n:,}' for n in lengths)} frames in ranges of {CHUNK_FRAMES:,}, resnet18 "
        "at 32 px with 17 keypoints, metrics on; the same at 64 px of videos of common sizes "
        "with labelled videos; EKS and metrics of tables in memory"
    )
    if lengths and max(lengths) < MILLION:
        result["work"] += "; a whole run of 1,000,000 frames was not made on this machine"
    packages = ("raypose", "ray", "torch", "av", "numpy", "pyarrow")
    harness.report("memory", result, packages, tiny=tiny)


if __name__ == "__main__":
    main()
