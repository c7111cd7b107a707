"""EKS of one camera: raypose's from tables in memory to CSV, against `eks.fit_eks_singlecam`.

Both choose the smoothing parameter on the same frames. The peer reads CSVs and writes one, as it
is run. Agreement is checked with the parameters that the peer chose: its rule for stopping the
search looks at differences of a float32 sum, so that the chosen parameter itself can hang on
rounding; the result file has both choices. A third computation, a plain Kalman smoother
in float64, says which side is nearer to the answer.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import harness
import numpy as np

from raypose.predictions import COORDS, KeypointTable, read_csv, write_csv
from raypose.stages.smooth import SmoothOptions, smooth_session

KEYPOINTS = tuple(f"keypoint{i}" for i in range(17))
MEMBERS = 3
CHOICE_FRAMES = 10_000


def make_members(n_frames: int) -> list[KeypointTable]:
    """Random walks of 17 keypoints, seen by three members with bursts of noise."""
    rng = np.random.default_rng(0)
    steps = rng.gamma(1.0, 1.0, 17)[:, None]
    truth = 300 + np.cumsum(rng.normal(0, 1, (n_frames, 17, 2)) * steps, axis=0)
    noise = rng.gamma(2.0, 1.0, (n_frames, 17, 1))
    noise[rng.random((n_frames, 17)) < 0.02] *= 10
    members = []
    for _ in range(MEMBERS):
        values = np.empty((n_frames, 17, 3), dtype=np.float32)
        values[..., :2] = truth + noise * rng.normal(0, 1, truth.shape)
        values[..., 2] = np.clip(1 - noise[..., 0] / 30, 0.05, 1)
        members.append(KeypointTable("heatmap_tracker", KEYPOINTS, COORDS, values))
    return members


def choice_frames(n_frames: int) -> tuple[int, int]:
    return 0, min(CHOICE_FRAMES, n_frames)


def side(name: str, directory: Path, repeats: int) -> None:
    """Runs one side in this process."""
    files = [directory / f"member{i}.csv" for i in range(MEMBERS)]
    if name == "raypose":
        members = [read_csv(file) for file in files]
        options = SmoothOptions(s_frames=(choice_frames(members[0].n_frames),))

        def ours() -> None:
            result = smooth_session(members, options)
            write_csv(result.table, directory / "raypose.csv")
            (directory / "raypose.json").write_text(json.dumps(result.smooth_params))

        harness.run_child(ours, repeats)
    else:
        from eks.singlecam_smoother import fit_eks_singlecam

        n_frames = read_csv(files[0]).n_frames

        def theirs() -> None:
            _, params, _, names = fit_eks_singlecam(
                [str(file) for file in files],
                str(directory / "eks" / "eks.csv"),
                s_frames=[choice_frames(n_frames)],
            )
            chosen = dict(zip(names, map(float, params), strict=True))
            (directory / "eks.json").write_text(json.dumps(chosen))

        harness.run_child(theirs, repeats)


def kalman_smoother(table: KeypointTable, params: np.ndarray) -> np.ndarray:
    """Positions by the textbook's filter and smoother in float64, frame by frame."""
    seen = table.values[..., 3:5].astype(np.float64)
    level = seen.mean(axis=0)
    seen = seen - level
    noise = np.maximum(table.values[..., 5:7].astype(np.float64), 1e-12)
    mean, variance = np.zeros_like(seen), np.zeros_like(seen)
    predicted, spread = np.zeros_like(level), seen.var(axis=0)
    for t in range(len(seen)):
        gain = spread / (spread + noise[t])
        mean[t] = predicted + gain * (seen[t] - predicted)
        variance[t] = (1 - gain) * spread
        predicted, spread = mean[t], variance[t] + params[:, None]
    for t in range(len(seen) - 2, -1, -1):
        back = variance[t] / (variance[t] + params[:, None])
        mean[t] += back * (mean[t + 1] - mean[t])
    return mean + level


def compare(directory: Path, members: list[KeypointTable]) -> dict[str, float]:
    """Differences of the sides in pixels; raises where they do not agree."""
    ours_chosen = json.loads((directory / "raypose.json").read_text())
    theirs_chosen = json.loads((directory / "eks.json").read_text())
    params = np.array([theirs_chosen[name] for name in KEYPOINTS])
    ours = smooth_session(members, SmoothOptions(smooth_param=tuple(params.tolist()))).table
    theirs = read_csv(directory / "eks" / "eks.csv")
    exact = kalman_smoother(ours, params)
    difference = float(np.abs(ours.xy - theirs.xy).max())
    if difference > 0.05:
        raise SystemExit(f"the sides differ by {difference:.3f} px")
    chosen = read_csv(directory / "raypose.csv")
    ratios = [ours_chosen[name] / theirs_chosen[name] for name in KEYPOINTS]
    return {
        "max_difference_px": difference,
        "raypose_from_float64_px": float(np.abs(ours.xy - exact).max()),
        "eks_from_float64_px": float(np.abs(theirs.xy - exact).max()),
        "max_difference_px_with_own_choice": float(np.abs(chosen.xy - theirs.xy).max()),
        "chosen_parameter_ratio_min": min(ratios),
        "chosen_parameter_ratio_max": max(ratios),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a small size, nothing is saved")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        side(args.side, args.directory, args.repeats)
        return
    n_frames = 300 if args.tiny else 100_000
    repeats = 1 if args.tiny else args.repeats
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        members = make_members(n_frames)
        for i, member in enumerate(members):
            write_csv(member, directory / f"member{i}.csv")
        sides = {
            name: harness.run_side(__file__, name, directory, repeats)
            for name in ("raypose", "eks")
        }
        agreement = compare(directory, members)
    result = {
        "work": f"{n_frames} frames x 17 keypoints x {MEMBERS} members, "
        f"parameter chosen on {choice_frames(n_frames)[1]} frames",
        "sides": sides,
        "ratio": sides["eks"]["median_s"] / sides["raypose"]["median_s"],
        "ratio_cpu": sides["eks"]["median_cpu_s"] / sides["raypose"]["median_cpu_s"],
        "agreement": agreement,
    }
    packages = ("raypose", "ensemble-kalman-smoother", "jax", "numpy", "scipy", "pyarrow")
    harness.report("smoothing", result, packages, tiny=args.tiny)


if __name__ == "__main__":
    main()
