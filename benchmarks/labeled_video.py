"""Labelled videos: raypose, Lightning Pose's `generate_labeled_video`, and a plain transcode.

The same keypoints are drawn on the same video, of a small and of a large frame. The plain
transcode decodes and encodes with raypose's encoder settings and draws nothing: what it takes is
the least that drawing can take. Before the times count, the outputs are compared: frames,
markers, file size, and likeness (SSIM of the luma) to the source.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import harness
import numpy as np

from raypose.rendering.labeled_video import draw_labeled_video
from raypose.video.decoding import iter_frames
from raypose.video.index import index_video
from raypose.video.pixels import plane_pixels
from raypose.video.writer import LABELED
from raypose.worker.budget import usable_cores

N_KEYPOINTS = 17
THRESHOLD = 0.9
SIZES = {"396x406": (396, 406, 800), "1280x1024": (1280, 1024, 240)}
TINY = {"256x224": (256, 224, 24)}
SIDES = ("raypose", "lightning_pose", "transcode")
MOST_BYTES, LEAST_SSIM = 1.3, -0.005
"""Goals beside the peer: file size as a multiple of its, SSIM to the source minus its."""


def make_video(path: Path, width: int, height: int, n_frames: int) -> None:
    """A textured ground, slowly moving, with bright limbs on it and a camera's noise.

    Harder on a quick encoder than a recording: texture of much contrast is everywhere, and moving
    markers uncover it.
    """
    rng = np.random.default_rng(0)
    ground = np.full((height + 64, width + 64), 80.0)
    for scale in (1.5, 6, 24):
        layer = cv2.GaussianBlur(rng.normal(0, 1, ground.shape), (0, 0), scale)
        ground += 16 * layer / layer.std()

    def picture(i: int) -> np.ndarray:
        shift = 32 + int(30 * np.sin(i / 40))
        image = ground[32 : 32 + height, shift : shift + width].astype(np.float32)
        for k in range(6):
            x = width * (0.5 + 0.4 * np.sin(i / (29 + 3 * k) + k))
            y = height * (0.5 + 0.4 * np.cos(i / (31 + 2 * k) + k))
            axes = (width // 25 + 3 * k, width // 60 + 2)
            cv2.ellipse(image, (int(x), int(y)), axes, 3.0 * i + 40 * k, 0, 360, 210, -1)
        image = cv2.GaussianBlur(image, (0, 0), 0.6) + rng.normal(0, 1, image.shape)
        return np.clip(image, 0, 255).astype(np.uint8)

    encode(path, width, height, (picture(i) for i in range(n_frames)))


def enlarge(source: Path, path: Path, width: int, height: int, n_frames: int) -> None:
    """The first frames of a video, in gray, at another size and with a camera's noise."""
    rng = np.random.default_rng(0)
    capture = cv2.VideoCapture(str(source))

    def picture() -> np.ndarray:
        gray = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2GRAY)
        large = cv2.resize(gray, (width, height), interpolation=cv2.INTER_CUBIC)
        return np.clip(large + rng.normal(0, 2, large.shape), 0, 255).astype(np.uint8)

    encode(path, width, height, (picture() for _ in range(n_frames)))


def encode(path: Path, width: int, height: int, pictures: Iterable[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=100, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i, gray in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.repeat(gray[..., None], 3, axis=2))
            frame.pts, frame.time_base = i, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def make_keypoints(width: int, height: int, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Smooth paths over the whole frame, most of them confident."""
    rng = np.random.default_rng(1)
    phase = rng.uniform(0, 6.28, (N_KEYPOINTS, 2))
    angle = np.arange(n_frames)[:, None, None] / rng.uniform(30, 120, (N_KEYPOINTS, 2)) + phase
    xy = (0.5 + 0.42 * np.sin(angle)) * (width, height)
    likelihood = rng.uniform(0.8, 1.0, (n_frames, N_KEYPOINTS))
    return xy.astype(np.float32), likelihood.astype(np.float32)


def transcode(source: Path, out: Path) -> None:
    """Decode and encode, with raypose's settings of the encoder."""
    with av.open(str(source)) as reading, av.open(str(out), "w") as writing:
        track = reading.streams.video[0]
        track.thread_type = "AUTO"
        stream = writing.add_stream(
            "libx264",
            rate=track.average_rate,
            options={"preset": LABELED.preset, "crf": str(LABELED.crf), **LABELED.options},
        )
        stream.width, stream.height, stream.pix_fmt = track.width, track.height, "yuv420p"
        stream.codec_context.thread_count = 0
        for frame in reading.decode(track):
            frame.pict_type = 0
            writing.mux(stream.encode(frame))
        writing.mux(stream.encode(None))


def side(name: str, directory: Path, repeats: int) -> None:
    """Runs one side in this process."""
    source, out = directory / "source.mp4", directory / f"{name}.mp4"
    data = np.load(directory / "keypoints.npz")
    xy, likelihood = data["xy"], data["likelihood"]
    if name == "raypose":
        threads = usable_cores()
        harness.run_child(
            lambda: draw_labeled_video(
                index_video(source), xy, likelihood, out, threshold=THRESHOLD, threads=threads
            ),
            repeats,
        )
    elif name == "transcode":
        harness.run_child(lambda: transcode(source, out), repeats)
    else:
        import pandas as pd
        from lightning_pose.utils.predictions import generate_labeled_video

        columns = np.concatenate([xy, likelihood[..., None]], axis=2).reshape(len(xy), -1)
        table = pd.DataFrame(columns)
        harness.run_child(
            lambda: generate_labeled_video(str(source), table, str(out), THRESHOLD, "cool"),
            repeats,
        )


def luma(path: Path, every: int) -> Iterator[tuple[int, np.ndarray]]:
    for n, frame, _ in iter_frames(index_video(path)):
        if n % every == 0 and frame is not None:
            yield n, plane_pixels(frame.planes[0]).astype(np.float32)


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of two pictures (Wang et al. 2004)."""

    def smooth(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (11, 11), 1.5)

    mean_a, mean_b = smooth(a), smooth(b)
    var_a, var_b = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2
    cov = smooth(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    return float((top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def likeness(source: Path, out: Path) -> float:
    every = 10
    pairs = zip(luma(source, every), luma(out, every), strict=False)
    return float(np.mean([ssim(a, b) for (_, a), (_, b) in pairs]))


def marker_differences(directory: Path) -> np.ndarray:
    """Differences of the colours of raypose's and Lightning Pose's markers, of 255.

    One value a marker that no other one covers; both encoders smear colours a little.
    """
    data = np.load(directory / "keypoints.npz")
    shown = [cv2.VideoCapture(str(directory / f"{name}.mp4")) for name in SIDES[:2]]
    differences = []
    for xy, likelihood in zip(data["xy"], data["likelihood"], strict=True):
        images = [capture.read()[1] for capture in shown]
        if any(image is None for image in images):
            break
        apart = np.linalg.norm(xy[:, None] - xy[None], axis=2)
        np.fill_diagonal(apart, np.inf)
        clear = (likelihood > THRESHOLD) & (apart.min(axis=1) > 12) & (xy[:, 1] > 40)
        for x, y in xy[clear].astype(int):
            patches = [image[y - 1 : y + 2, x - 1 : x + 2].mean(axis=(0, 1)) for image in images]
            differences.append(np.abs(patches[0] - patches[1]).max())
    return np.array(differences)


def compare(directory: Path, width: int, height: int, n_frames: int) -> dict[str, Any]:
    """Facts on the three outputs; raises where they are not the same work."""
    outs = {name: directory / f"{name}.mp4" for name in SIDES}
    indices = {name: index_video(path) for name, path in outs.items()}
    for name, index in indices.items():
        if abs(index.n_frames - n_frames) > 1 or (index.width, index.height) != (width, height):
            raise SystemExit(f"{name} wrote {index}")
    differences = marker_differences(directory)
    if not len(differences) or np.percentile(differences, 99) > 60:
        raise SystemExit(f"markers differ: {np.percentile(differences, [50, 99, 100])}")
    sizes = {name: path.stat().st_size for name, path in outs.items()}
    similar = {name: likeness(directory / "source.mp4", path) for name, path in outs.items()}
    return {
        "file_bytes": sizes,
        "file_size_ratio_to_peer": sizes["raypose"] / sizes["lightning_pose"],
        "ssim_to_source": similar,
        "ssim_minus_peer": similar["raypose"] - similar["lightning_pose"],
        "marker_difference_median": float(np.median(differences)),
        "marker_difference_p99": float(np.percentile(differences, 99)),
    }


def goals(agreement: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each goal, what was measured, and whether that meets it."""
    size, ssim_apart = agreement["file_size_ratio_to_peer"], agreement["ssim_minus_peer"]
    return {
        "file_size_ratio_to_peer": {
            "at_most": MOST_BYTES, "measured": size, "met": size <= MOST_BYTES,
        },
        "ssim_minus_peer": {
            "at_least": LEAST_SSIM, "measured": ssim_apart, "met": ssim_apart >= LEAST_SSIM,
        },
    }  # fmt: skip


def run_in_turns(directory: Path, repeats: int) -> dict[str, dict[str, Any]]:
    """Each side once a round, so that a machine that slows down slows all of them down."""
    rounds = [
        {name: harness.run_side(__file__, name, directory, 1) for name in SIDES}
        for _ in range(repeats)
    ]
    stats = {}
    for name in SIDES:
        seconds = [ran[name]["seconds"][0] for ran in rounds]
        stats[name] = {
            "seconds": seconds,
            "median_s": float(np.median(seconds)),
            "cpu_seconds": [ran[name]["cpu_seconds"][0] for ran in rounds],
            "peak_memory_mib": max(ran[name]["peak_memory_mib"] for ran in rounds),
        }
    return stats


def times_as_long(sides: dict[str, dict[str, Any]], name: str, unit: str = "seconds") -> float:
    """Median over the rounds of a side's time by raypose's."""
    return float(np.median(np.divide(sides[name][unit], sides["raypose"][unit])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a small size, nothing is saved")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--video", type=Path, help="a real video: at its own size, and enlarged")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        side(args.side, args.directory, args.repeats)
        return
    result: dict[str, Any] = {"work": f"{N_KEYPOINTS} keypoints a frame", "sizes": {}}
    sizes = TINY if args.tiny else SIZES
    if args.video:
        index = index_video(args.video)
        own = (index.width, index.height, index.n_frames)
        large = (1280, 1024, min(240, index.n_frames))
        sizes = {f"{own[0]}x{own[1]}": own, "1280x1024": large}
    for label, (width, height, n_frames) in sizes.items():
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(folder)
            source = directory / "source.mp4"
            if not args.video:
                make_video(source, width, height, n_frames)
            elif (width, height) == (index.width, index.height):
                source.symlink_to(args.video.resolve())
            else:
                enlarge(args.video, source, width, height, n_frames)
            xy, likelihood = make_keypoints(width, height, n_frames)
            np.savez(directory / "keypoints.npz", xy=xy, likelihood=likelihood)
            repeats = 1 if args.tiny else args.repeats
            sides = run_in_turns(directory, repeats)
            agreement = compare(directory, width, height, n_frames)
        for stats in sides.values():
            stats["frames_per_s"] = n_frames / stats["median_s"]
        result["sizes"][label] = {
            "n_frames": n_frames,
            "sides": sides,
            "ratio": times_as_long(sides, "lightning_pose"),
            "share_of_transcode": times_as_long(sides, "transcode"),
            # The peer encodes in a process of its own, which its processor time leaves out.
            "share_of_transcode_cpu": times_as_long(sides, "transcode", "cpu_seconds"),
            "agreement": agreement,
            "goals": goals(agreement),
        }
    result["ratio"] = min(size["ratio"] for size in result["sizes"].values())
    packages = ("raypose", "lightning-pose", "av", "opencv-python-headless", "numpy")
    result["source"] = args.video.name if args.video else "made up"
    harness.report("labeled_video", result, packages, tiny=args.tiny)
    missed = False
    for label, size in result["sizes"].items():
        for name, goal in size["goals"].items():
            (bound,) = (f"{key} {goal[key]}" for key in ("at_most", "at_least") if key in goal)
            verdict = "met" if goal["met"] else "MISSED"
            print(f"{label}: {name} {goal['measured']:.4f}, goal {bound}: {verdict}")
            missed |= not goal["met"]
    if not args.video:
        print("the goals are for real videos (--video): this one is made up, see make_video")
    elif missed:
        raise SystemExit("a goal is missed")


if __name__ == "__main__":
    main()
