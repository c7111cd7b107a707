"""EKS of one camera: raypose's from tables in memory to CSV, against `eks.fit_eks_singlecam`.

Both choose the smoothing parameter on the same frames. The peer reads CSVs and writes one, as it
is run. It computes in float32, where its rule for stopping the search looks at differences of a
sum over all frames, so that the chosen parameter itself can hang on rounding. What the method
asks for is therefore computed as well, untimed: by `fit_eks_singlecam` in float64 with a choice
of its own, and, for given parameters, by a plain Kalman smoother in float64.

raypose must agree with the peer in float32 where both have the peer's parameters, and with the
peer in float64 where each has its own.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import harness
import numpy as np

from raypose.config import EksOptions
from raypose.eks.recording import smooth_recording
from raypose.tables.keypoints import COORDS, KeypointTable, read_csv, write_csv

KEYPOINTS = tuple(f"keypoint{i}" for i in range(17))
MEMBERS = 3
CHOICE_FRAMES = 10_000
AGREE_PX = 0.05


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
        members = {str(i): read_csv(file) for i, file in enumerate(files)}
        options = EksOptions(s_frames=(choice_frames(members["0"].n_frames),))

        def ours() -> None:
            result = smooth_recording({"": members}, options, threads=4)
            write_csv(result.tables[""], directory / "raypose.csv")
            (directory / "raypose.json").write_text(json.dumps(result.smooth_params))

        harness.run_child(ours, repeats)
    elif name == "eks-float64":
        harness.run_child(lambda: eks_in_float64(files, directory), repeats)
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


def eks_in_float64(files: list[Path], directory: Path) -> None:
    """The peer as it is, with 64 bits switched on in JAX before anything imports it.

    One cast to float32 is left in `eks` 4.6.2: of log s, the variable of the search, whose
    rounding changes s by some parts in ten million. What is summed, filtered and smoothed is
    float64; wrappers that change nothing look at it as it passes.
    """
    os.environ["JAX_ENABLE_X64"] = "1"
    from unittest import mock

    import eks.core
    from eks import singlecam_smoother

    kinds: dict[str, str] = {}

    def smoother(*args: Any, **kwargs: Any) -> Any:
        kinds["observations"] = str(kwargs["ys"].dtype)
        kinds["variances"] = str(kwargs["ensemble_vars"].dtype)
        found = run_smoother(*args, **kwargs)
        kinds["smoothed"] = str(found[1].dtype)
        return found

    def kalman_filter(*args: Any, **kwargs: Any) -> Any:
        found = run_filter(*args, **kwargs)
        kinds["likelihood"] = str(found.marginal_loglik.dtype)
        return found

    run_smoother = singlecam_smoother.run_kalman_smoother
    run_filter = eks.core.extended_kalman_filter
    with (
        mock.patch.object(singlecam_smoother, "run_kalman_smoother", smoother),
        mock.patch.object(eks.core, "extended_kalman_filter", kalman_filter),
    ):
        table, params, _, names = singlecam_smoother.fit_eks_singlecam(
            [str(file) for file in files],
            str(directory / "eks-float64" / "eks.csv"),
            s_frames=[choice_frames(read_csv(files[0]).n_frames)],
        )
    if len(kinds) != 4 or set(kinds.values()) != {"float64"}:
        raise SystemExit(f"eks did not compute in float64: {kinds}")
    # Not from the CSV, which raypose would read as float32.
    np.save(directory / "eks-float64.npy", table.to_numpy().reshape(len(table), len(names), -1))
    chosen = dict(zip(names, map(float, params), strict=True))
    (directory / "eks-float64.json").write_text(json.dumps(chosen))


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


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference of two arrays of x and y, in pixels."""
    return float(np.abs(a.astype(np.float64) - b).max())


def compare(directory: Path, members: list[KeypointTable]) -> dict[str, Any]:
    """Differences of the sides; raises where they do not agree."""
    names = ("raypose", "eks", "eks-float64")
    chosen = {name: json.loads((directory / f"{name}.json").read_text()) for name in names}
    params = {name: np.array([chosen[name][k] for k in KEYPOINTS]) for name in names}
    theirs = read_csv(directory / "eks" / "eks.csv")
    given = EksOptions(smooth_param=chosen["eks"])
    tables = {str(i): member for i, member in enumerate(members)}
    ours = smooth_recording({"": tables}, given, threads=4).tables[""]
    exact = kalman_smoother(ours, params["eks"])
    equal = {
        "raypose_from_eks_px": apart(ours.xy, theirs.xy),
        "raypose_from_float64_px": apart(ours.xy, exact),
        "eks_from_float64_px": apart(theirs.xy, exact),
    }
    xy = {
        "raypose": read_csv(directory / "raypose.csv").xy,
        "eks": theirs.xy,
        "eks-float64": np.load(directory / "eks-float64.npy")[..., :2],
    }
    own: dict[str, Any] = {}
    for a, b in (("raypose", "eks-float64"), ("eks", "eks-float64"), ("raypose", "eks")):
        ratios = params[a] / params[b]
        own[f"{a} and {b}"] = {
            "max_difference_px": apart(xy[a], xy[b]),
            "parameter_ratio_min": float(ratios.min()),
            "parameter_ratio_max": float(ratios.max()),
        }
    ours_px = own["raypose and eks-float64"]["max_difference_px"]
    theirs_px = own["eks and eks-float64"]["max_difference_px"]
    result = {
        "same_parameters": equal,
        "own_choice": own,
        "nearer_to_float64_with_own_choice": "raypose" if ours_px <= theirs_px else "eks",
    }
    if equal["raypose_from_eks_px"] > AGREE_PX or ours_px > AGREE_PX:
        raise SystemExit(f"the sides differ: {json.dumps(result, indent=1)}")
    return result


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
        harness.run_side(__file__, "eks-float64", directory, 1)
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
