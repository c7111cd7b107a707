"""Inference in the steady state, one model and one video: raypose's loop against Lightning Pose's.

Both sides have the model loaded before the clock starts, read the video with the same decoder
library (FFmpeg; upstream through `--reader opencv`) and end with keypoints in memory. Float32 on
the CPU. The keypoints are compared first: where either side is sure, they must agree.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

import harness
import numpy as np
import tiny

sys.path.insert(0, str(Path(__file__).parents[1]))


def raypose_side(model: Path, video: Path, output: Path, repeats: int) -> None:
    from raypose.inference.loop import MemberResult
    from raypose.inference.predictor import Predictor
    from raypose.inputs.models import open_model
    from raypose.worker.memory import limit_arenas
    from tests.predictions import predict_video

    limit_arenas()  # as workers do
    predictor = Predictor(open_model(model))

    def work() -> None:
        (result,) = predict_video(video, [predictor])
        assert isinstance(result, MemberResult), result
        np.save(output, result.values)

    predict_video(video, [predictor], stop=16)
    harness.run_child(work, repeats)


def litpose_side(model: Path, video: Path, output: Path, repeats: int) -> None:
    from lightning_pose.api import Model
    from lightning_pose.utils.predictions import predict_video

    loaded = Model.from_dir(model)
    loaded._load()  # the weights, which it would load with the first video

    def work() -> None:
        # Lightning's progress bar goes where no one reads it; the result line must stay alone.
        with contextlib.redirect_stdout(sys.stderr):
            table = predict_video(str(video), loaded, reader="opencv")
        np.save(output, table.to_numpy(np.float32).reshape(len(table), -1, 3))

    harness.run_child(work, repeats)


def compare(directory: Path) -> dict[str, float | int]:
    ours, theirs = (np.load(directory / f"{name}.npy") for name in ("raypose", "litpose"))
    if ours.shape != theirs.shape:
        raise SystemExit(f"the sides have shapes {ours.shape} and {theirs.shape}")
    sure = theirs[..., 2] > 0.9
    result = {
        "n_frames": len(ours),
        "keypoints_compared": int(sure.sum()),
        "max_difference_px": float(np.abs(ours - theirs)[..., :2][sure].max(initial=0)),
        "max_difference_likelihood": float(np.abs(ours - theirs)[..., 2].max()),
    }
    if not result["keypoints_compared"]:
        raise SystemExit("no keypoint is sure enough to be compared")
    if result["max_difference_px"] > 0.05 or result["max_difference_likelihood"] > 0.01:
        raise SystemExit(f"the sides differ: {result}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    tiny.add_arguments(parser)
    parser.add_argument("--tiny", action="store_true", help="a small size, nothing is saved")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        run = raypose_side if args.side == "raypose" else litpose_side
        inputs = (args.directory / "inputs").read_text().splitlines()
        run(Path(inputs[0]), Path(inputs[1]), args.directory / f"{args.side}.npy", args.repeats)
        return
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model, video = stack.enter_context(tiny.model_and_video(parser, args))
        (directory / "inputs").write_text(f"{model}\n{video}\n")
        repeats = 1 if args.tiny else args.repeats
        sides = {
            name: harness.run_side(__file__, name, directory, repeats)
            for name in ("raypose", "litpose")
        }
        agreement = compare(directory)
    for took in sides.values():
        took["frames_per_s"] = agreement["n_frames"] / took["median_s"]
    result = {
        "work": f"{agreement['n_frames']} frames, float32 on the CPU, model loaded",
        "sides": sides,
        "ratio": sides["litpose"]["median_s"] / sides["raypose"]["median_s"],
        "ratio_cpu": sides["litpose"]["median_cpu_s"] / sides["raypose"]["median_cpu_s"],
        "agreement": agreement,
    }
    packages = (
        "raypose",
        "lightning-pose",
        "torch",
        "torchvision",
        "av",
        "opencv-python-headless",
    )
    harness.report("predict", result, packages, tiny=args.tiny)


if __name__ == "__main__":
    main()
