"""The main job, from command to exit: 2 models × 8 clips with metrics.

raypose once with an empty cache of graphs and once with a filled one, against `litpose predict`
as the Pose-app's scripts run it (a process a video and model) and at its best (a process a model
with all clips on its command line). The tables are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness
import numpy as np
import yaml

from raypose.predictions import read_csv

BIN = Path(sys.executable).parent


def timed(command: Sequence[str], env: dict[str, str] | None = None) -> float:
    began = time.perf_counter()
    ran = subprocess.run(
        command, env={**os.environ, **(env or {})}, capture_output=True, text=True
    )
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)}\n{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}")
    return time.perf_counter() - began


def cut(video: Path, folder: Path, n_clips: int, n_frames: int) -> list[Path]:
    """The first frames of a video as `n_clips` videos of `n_frames` each."""
    from raypose.stages.snippet import cut_snippet

    folder.mkdir()
    clips = []
    for i in range(n_clips):
        clip = folder / f"clip{i}.mp4"
        cut_snippet(video, i * n_frames, (i + 1) * n_frames, clip)
        clips.append(clip)
    return clips


def copy_model(model: Path, target: Path, data_dir: Path) -> Path:
    """A copy that upstream can compute metrics for: its config names where the labels are."""
    shutil.copytree(model, target)
    config = yaml.safe_load((target / "config.yaml").read_text())
    config["data"]["data_dir"] = str(data_dir)
    (target / "config.yaml").write_text(yaml.safe_dump(config))
    return target


def raypose(clips: Path, models: Sequence[Path], out: Path, cache: Path, data_dir: Path) -> float:
    shutil.rmtree(out, ignore_errors=True)
    flags = [flag for model in models for flag in ("-m", str(model))]
    return timed(
        [f"{BIN}/raypose", "run", str(clips), *flags, "-o", str(out), "--data-dir", str(data_dir)],
        {"RAYPOSE_CACHE_DIR": str(cache)},
    )


def litpose(model: Path, clips: Sequence[Path]) -> float:
    videos = [str(clip) for clip in clips]
    return timed(
        [f"{BIN}/litpose", "predict", str(model), *videos, "--reader", "opencv", "--skip_viz"]
    )


def compare(out: Path, models: Sequence[Path], clips: Sequence[Path]) -> float:
    """Largest difference in x and y, in pixels, where upstream's likelihood is above 0.9."""
    worst = 0.0
    for folder, model in zip(sorted(p for p in out.iterdir() if p.name != "raypose"), models,
                             strict=True):  # fmt: skip
        for clip in clips:
            ours = read_csv(folder / "video_preds" / f"{clip.stem}.csv")
            theirs = read_csv(model / "video_preds" / f"{clip.stem}.csv")
            sure = theirs.likelihood > 0.9
            worst = max(worst, float(np.abs(ours.xy - theirs.xy)[sure].max(initial=0.0)))
            for metric in ("temporal_norm", "pca_singleview_error", "pca_multiview_error"):
                name = f"{clip.stem}_{metric}.csv"
                upstream_has_it = (model / "video_preds" / name).exists()
                assert (folder / "video_preds" / name).exists() or not upstream_has_it, name
    assert worst < 0.05, worst
    return worst


def write_labels(folder: Path, n_frames: int = 12) -> Path:
    """Labels of nothing in particular: without any, upstream ends before its metrics."""
    import cv2

    (folder / "labeled-data").mkdir(parents=True)
    keypoints = ("nose", "paw", "tail")
    header = [
        "scorer" + ",someone" * 6,
        "bodyparts," + ",".join(name for name in keypoints for _ in "xy"),
        "coords" + ",x,y" * 3,
    ]
    random = np.random.default_rng(0)
    rows = []
    for i in range(n_frames):
        name = f"labeled-data/img{i:02d}.png"
        cv2.imwrite(str(folder / name), random.integers(0, 255, (64, 96, 3), np.uint8))
        rows.append(name + "".join(f",{value:.1f}" for value in random.uniform(5, 60, 6)))
    (folder / "CollectedData.csv").write_text("\n".join([*header, *rows]) + "\n")
    return folder


def project(root: Path, args: argparse.Namespace) -> tuple[list[Path], list[Path], Path]:
    """Clips, models and data: the user's, or tiny ones made on the spot."""
    if args.tiny:
        sys.path.insert(0, str(Path(__file__).parents[1]))
        from tests.models import make_model
        from tests.videos import make_video

        labels = write_labels(root / "data")
        names = ("2026-01-01/10-00-00", "2026-01-01/10-00-01")
        models = [make_model(root / n, seed=i, data_dir=labels) for i, n in enumerate(names)]
        (root / "clips").mkdir()
        clips = [make_video(root / "clips" / "clip0.mp4", n_frames=20)]
        return clips, models, labels
    clips = cut(args.video, root / "clips", args.clips, args.frames)
    models = [
        copy_model(model, root / "2026-01-01" / f"10-00-0{i}", args.data_dir)
        for i, model in enumerate(args.model)
    ]
    return clips, models, args.data_dir


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a small size, nothing is saved")
    parser.add_argument("--video", type=Path)
    parser.add_argument("--model", type=Path, action="append")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--frames", type=int, default=124)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        clips, models, data_dir = project(root, args)
        out, cache, n = root / "out", root / "cache", 1 if args.tiny else args.repeats
        cold, warm = [], []
        for _ in range(n):
            shutil.rmtree(cache, ignore_errors=True)
            cold.append(raypose(root / "clips", models, out, cache, data_dir))
            warm.append(raypose(root / "clips", models, out, cache, data_dir))
        best = [sum(litpose(model, clips) for model in models)]
        worst_px = compare(out, models, clips)
        for model in models:
            shutil.rmtree(model / "video_preds")
        loop = [sum(litpose(model, [clip]) for model in models for clip in clips)]
    result: dict[str, Any] = {
        "work": f"{len(models)} models × {len(clips)} clips, metrics on, from command to exit",
        "sides": {
            name: {"seconds": seconds, "median_s": sorted(seconds)[len(seconds) // 2]}
            for name, seconds in {
                "raypose, empty cache": cold,
                "raypose": warm,
                "litpose, a process a video and model": loop,
                "litpose, a process a model": best,
            }.items()
        },
        "agreement": f"x and y within {worst_px:.5f} px where likelihood > 0.9",
        "peak_memory_mib": {
            "largest process": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
        },
    }
    medians = {name: side["median_s"] for name, side in result["sides"].items()}
    looped = medians["litpose, a process a video and model"]
    at_best = medians["litpose, a process a model"]
    result["ratio"] = looped / medians["raypose"]
    result["ratios"] = {
        "loop / raypose": looped / medians["raypose"],
        "loop / raypose with an empty cache": looped / medians["raypose, empty cache"],
        "process a model / raypose": at_best / medians["raypose"],
        "process a model / raypose with an empty cache": at_best / medians["raypose, empty cache"],
    }
    harness.report("job", result, ("raypose", "lightning-pose", "ray", "torch"), tiny=args.tiny)


if __name__ == "__main__":
    main()
