"""Memory of a run against the length of the video and the size of its frames: what must not grow.

First part: whole runs with Ray of one video of tiny frames and a tiny model, each longer than the
one before; the peaks of the GPU worker, the CPU actors, the driver and the object store are read
from /proc while it goes on. Second part: EKS and metrics of three members' tables in memory, in a
child process. Third part: inference on the CPU, in a child process, of videos of large frames;
what it takes beyond the loaded model. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
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
FRAMES = {"640x480": (640, 480), "1920x1080": (1920, 1080), "3840x2160": (3840, 2160)}
N_FRAMES = 60
PARTS = ("tables", "runs", "growth", "large_frames")


# --- a run with Ray --------------------------------------------------------------------------


def write_video(path: Path, n_frames: int) -> None:
    """A video of `n_frames` from copies of the packets of one encoded segment."""
    from tests.videos import make_video, repeat_packets

    segment = make_video(
        path.with_name("segment.mp4"), n_frames=SEGMENT, width=SIZE, height=SIZE, gop=250
    )
    repeat_packets(path, segment, n_frames)
    segment.unlink()


def run_raypose(root: Path, model: Path, cache: Path, n_frames: int) -> dict[str, Any]:
    """One run from command to exit, watched."""
    video, out = root / f"video{n_frames}.mp4", root / "out"
    write_video(video, n_frames)
    command = [
        str(Path(sys.executable).parent / "raypose"), "run", str(video), "-m", str(model),
        "-o", str(out), "--chunk-frames", str(CHUNK_FRAMES), "--metrics", "--device", "cpu",
    ]  # fmt: skip
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
    video.unlink()
    return {
        "frames": n_frames,
        "rows": n_rows,
        "seconds": seconds,
        "predict_frames_per_s": n_frames / predict_s,
        "peak_mib": peaks,
    }


def make_model(directory: Path, side: int = 32) -> Path:
    from tests import models

    return models.make_model(
        directory, keypoint_names=KEYPOINTS, height=side, width=side, downsample_factor=3
    )


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


# --- frames of any size ----------------------------------------------------------------------


def predict_and_measure(directory: Path) -> None:
    """In a child: predict each video; prints the peak of each beyond the loaded model."""
    from raypose.inference.predictor import Predictor
    from raypose.inputs.models import open_model
    from raypose.worker.memory import limit_arenas
    from tests.predictions import predict_video

    limit_arenas()  # as workers do
    predictor = Predictor(open_model(directory / "model"))
    report = {}
    Path("/proc/self/clear_refs").write_text("5")
    loaded = status_mib("self")["VmHWM"]
    for video in sorted(directory.glob("*.mp4")):
        Path("/proc/self/clear_refs").write_text("5")
        predict_video(video, [predictor])
        report[video.stem] = round(status_mib("self")["VmHWM"] - loaded)
    sys.stdout.write(json.dumps(report) + "\n")


def run_frames(model: Path, cache: Path, root: Path, *, tiny_size: bool) -> dict[str, Any]:
    """MiB beyond the model, by the size of the frames."""
    from tests.videos import make_video

    root.mkdir()
    (root / "model").symlink_to(model)
    sizes = {"320x240": (320, 240)} if tiny_size else FRAMES
    for name, (width, height) in sizes.items():
        make_video(root / f"{name}.mp4", n_frames=N_FRAMES, width=width, height=height)
    command = [sys.executable, __file__, "--frames-of", str(root)]
    environment = {**os.environ, "RAYPOSE_CACHE_DIR": str(cache)}
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    beyond: dict[str, int] = json.loads(ran.stdout.strip().splitlines()[-1])
    assert max(beyond.values()) < 2560, beyond
    return {"frames": N_FRAMES, "beyond_model_mib": beyond}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a small size, nothing is saved")
    parser.add_argument("--frames", type=int, nargs="+", default=[20_000, 100_000, MILLION])
    parser.add_argument("--part", choices=("run", "tables", "frames"), help="only this part")
    parser.add_argument("--project", type=Path, help="with --tiny: what tiny.py made")
    parser.add_argument("--tables", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--frames-of", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    if args.frames_of:
        predict_and_measure(args.frames_of)
        return
    if args.tables:
        smooth_and_measure(args.tables, args.directory)
        return
    lengths = [500] if args.tiny else args.frames
    result: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if args.part in (None, "tables"):
            result["tables"] = run_tables(2_000 if args.tiny else MILLION, root)
        if args.part != "tables":
            if args.tiny:
                project = stack.enter_context(tiny.project_at(args.project))
                model, cache = project.model, project.cache
            else:
                model, cache = make_model(root / "model"), root / "cache"
        if args.part in (None, "frames"):
            takes = model if args.tiny else make_model(root / "larger model", 256)
            of_frames = run_frames(takes, cache, root / "frames", tiny_size=args.tiny)
            result["large_frames"] = of_frames
        if args.part in (None, "run"):
            if not args.tiny:
                # Builds the network, in a child of the driver.
                run_raypose(root, model, cache, 100)
            result["runs"] = [run_raypose(root, model, cache, n) for n in lengths]
            if len(result["runs"]) > 1:
                result["growth"] = growth(result["runs"])
    save(result, tiny=args.tiny)


def save(result: dict[str, Any], *, tiny: bool) -> None:
    """Keep what the other part's last run has measured, unless both were run."""
    path = harness.RESULTS / "memory.json"
    if not tiny and path.exists():
        before = json.loads(path.read_text())
        result = {**{k: before[k] for k in PARTS if k in before}, **result}
    lengths = [run["frames"] for run in result.get("runs", [])]
    result["work"] = (
        f"raypose run on Ray, CPU, one video of {SIZE}×{SIZE} of "
        f"{', '.join(f'{n:,}' for n in lengths)} frames in ranges of {CHUNK_FRAMES:,}, resnet18 "
        "at 32 px with 17 keypoints, metrics on; EKS and metrics of tables in memory; "
        f"inference of {N_FRAMES} large frames by resnet18 at 256 px, beyond the loaded model"
    )
    if lengths and max(lengths) < MILLION:
        result["work"] += "; a whole run of 1,000,000 frames was not made on this machine"
    packages = ("raypose", "ray", "torch", "av", "numpy", "pyarrow")
    harness.report("memory", result, packages, tiny=tiny)


if __name__ == "__main__":
    main()
