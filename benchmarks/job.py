"""The main job, from command to exit: 2 models × 8 clips with metrics.

raypose once with an empty cache of networks and once with a filled one, against `litpose predict`
as the Pose-app's scripts run it (one process per video and model) and at its best (one process per
model with all clips on its command line). The tables must agree. Processes are watched while they
run, for the peaks of the driver, of its workers and of the peer.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness
import numpy as np
import tiny
import yaml
from processes import CPU, DRIVER, PREDICT, STORE, timed

from raypose.tables.keypoints import read_csv

BIN = Path(sys.executable).parent


Run = tuple[float, dict[str, dict[str, int]]]
"""Seconds, and the peaks of the processes."""


def cut(video: Path, folder: Path, n_clips: int, n_frames: int) -> list[Path]:
    """The first frames of a video as `n_clips` videos of `n_frames` each."""
    from raypose.rendering.snippet import cut_snippet
    from raypose.video.index import index_video

    folder.mkdir()
    clips, index = [], index_video(video)
    for i in range(n_clips):
        clip = folder / f"clip{i}.mp4"
        cut_snippet(index, i * n_frames, (i + 1) * n_frames, clip)
        clips.append(clip)
    return clips


def copy_model(model: Path, target: Path, data_dir: Path) -> Path:
    """A copy that upstream can compute metrics for: its config names where the labels are."""
    shutil.copytree(model, target)
    config = yaml.safe_load((target / "config.yaml").read_text())
    config["data"]["data_dir"] = str(data_dir)
    (target / "config.yaml").write_text(yaml.safe_dump(config))
    return target


def raypose(clips: Path, models: Sequence[Path], out: Path, cache: Path, data_dir: Path) -> Run:
    shutil.rmtree(out, ignore_errors=True)
    flags = [flag for model in models for flag in ("-m", str(model))]
    return timed(
        [f"{BIN}/raypose", "run", str(clips), *flags, "-o", str(out), "--data-dir", str(data_dir)],
        {"RAYPOSE_CACHE_DIR": str(cache)},
    )


def litpose(model: Path, clips: Sequence[Path]) -> Run:
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
            assert sure.any(), clip
            worst = max(worst, float(np.abs(ours.xy - theirs.xy)[sure].max(initial=0.0)))
            for metric in ("temporal_norm", "pca_singleview_error", "pca_multiview_error"):
                name = f"{clip.stem}_{metric}.csv"
                upstream_has_it = (model / "video_preds" / name).exists()
                assert (folder / "video_preds" / name).exists() or not upstream_has_it, name
    assert worst < 0.05, worst
    return worst


def prepare(root: Path, args: argparse.Namespace) -> tuple[list[Path], list[Path], Path]:
    """Clips, models and labels: the user's, or tiny ones."""
    if args.tiny:
        with tiny.project_at(args.project) as made:
            data_dir = Path(shutil.copytree(made.labels, root / "data"))
            models = [copy_model(made.model, root / "2026-01-01" / "10-00-00", data_dir)]
            (root / "clips").mkdir()
            clips = [Path(shutil.copy(made.clip, root / "clips" / "clip0.mp4"))]
        return clips, models, data_dir
    clips = cut(args.video, root / "clips", args.clips, args.frames)
    models = [
        copy_model(model, root / "2026-01-01" / f"10-00-0{i}", args.data_dir)
        for i, model in enumerate(args.model)
    ]
    return clips, models, args.data_dir


def in_turn(runs: Sequence[Run]) -> Run:
    """Processes one after the other as one: their time together, of each role the largest."""
    peaks: dict[str, dict[str, int]] = {}
    for _, found in runs:
        for role, values in found.items():
            most = peaks.setdefault(role, dict.fromkeys(values, 0))
            peaks[role] = {name: max(most[name], value) for name, value in values.items()}
    return sum(seconds for seconds, _ in runs), peaks


def side(runs: Sequence[Run]) -> dict[str, Any]:
    """What a side took, each run in seconds, and the peak of its largest process.

    Of raypose by what the process is; of the peer, which has one at a time, a number.
    """
    seconds = [run[0] for run in runs]
    peaks = {role: values["rss"] for role, values in in_turn(runs)[1].items() if role != STORE}
    return {
        "seconds": seconds,
        "median_s": sorted(seconds)[len(seconds) // 2],
        "peak_memory_mib": peaks if PREDICT in peaks else max(peaks.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a small size, nothing is saved")
    parser.add_argument("--project", type=Path, help="with --tiny: what tiny.py made")
    parser.add_argument("--video", type=Path)
    parser.add_argument("--model", type=Path, action="append")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--frames", type=int, default=124)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        clips, models, data_dir = prepare(root, args)
        out, cache, n = root / "out", root / "cache", 1 if args.tiny else args.repeats
        cold, warm = [], []
        for _ in range(n):
            shutil.rmtree(cache, ignore_errors=True)
            cold.append(raypose(root / "clips", models, out, cache, data_dir))
            warm.append(raypose(root / "clips", models, out, cache, data_dir))
        for run in (*cold, *warm):
            for role in (DRIVER, PREDICT, CPU):
                assert role in run[1], (role, run[1])
        best = [in_turn([litpose(model, clips) for model in models])]
        worst_px = compare(out, models, clips)
        if len(clips) == 1:  # one process per model is one process per video and model
            loop = best
        else:
            for model in models:
                shutil.rmtree(model / "video_preds")
            loop = [in_turn([litpose(model, [clip]) for model in models for clip in clips])]
    result: dict[str, Any] = {
        "work": f"{len(models)} models × {len(clips)} clips, metrics on, from command to exit",
        "sides": {
            name: side(runs)
            for name, runs in {
                "raypose, empty cache": cold,
                "raypose": warm,
                "litpose, one process per video and model": loop,
                "litpose, one process per model": best,
            }.items()
        },
        "agreement": f"x and y within {worst_px:.5f} px where likelihood > 0.9",
    }
    medians = {name: side["median_s"] for name, side in result["sides"].items()}
    looped = medians["litpose, one process per video and model"]
    at_best = medians["litpose, one process per model"]
    result["ratio"] = looped / medians["raypose"]
    result["ratios"] = {
        "loop / raypose": looped / medians["raypose"],
        "loop / raypose with an empty cache": looped / medians["raypose, empty cache"],
        "one process per model / raypose": at_best / medians["raypose"],
        "one process per model / raypose with an empty cache": at_best
        / medians["raypose, empty cache"],
    }
    harness.report("job", result, ("raypose", "lightning-pose", "ray", "torch"), tiny=args.tiny)


if __name__ == "__main__":
    main()
