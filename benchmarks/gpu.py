"""Inference on a GPU: frames/s of 1 and 3 members, and of its two ceilings alone.

Two steps, so that the second runs on a machine that has a GPU, torch and PyAV, and neither Ray
nor Lightning Pose:

    python benchmarks/gpu.py prepare DIR     # networks and videos; needs Lightning Pose
    python benchmarks/gpu.py measure DIR     # there, with this repository on PYTHONPATH

ResNet-50 at 256 px with random weights and 17 keypoints, H.264 at 640×480 and 1920×1080. Ceilings
are decoding alone, up to what the networks take of each frame, and networks alone on images that
lie on the device. Before a time counts, the
keypoints of the loop are compared with those of the same frames predicted by themselves.
`measure --peer` also times Lightning Pose, where it is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pickle
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import harness
import numpy as np
import tiny

sys.path.insert(0, str(Path(__file__).parents[1]))

KEYPOINTS = tuple(f"keypoint{i}" for i in range(17))
MEMBERS = (1, 3)
SIZES = {"640x480": (640, 480, 3000), "1920x1080": (1920, 1080, 900)}
NETWORK = {"backbone": "resnet50", "height": 256, "width": 256}


def prepare(
    directory: Path,
    network: Mapping[str, Any],
    sizes: Mapping[str, tuple[int, int, int]],
    build: Callable[[Any], bytes],
) -> None:
    """Models, their networks (as `build` gives them) and descriptions, and videos."""
    from labeled_video import make_video

    from raypose.inputs.models import open_model
    from tests.models import make_model

    for i in range(max(MEMBERS)):
        folder = directory / f"member-{i}"
        make_model(folder / "model", keypoint_names=KEYPOINTS, seed=i, **network)
        spec = open_model(folder / "model")
        (folder / "spec.pickle").write_bytes(pickle.dumps(spec))
        (folder / "artifact").write_bytes(build(spec))
    for label, size in sizes.items():
        make_video(directory / f"{label}.mp4", *size)


def load(directory: Path, device: str, precision: str) -> list[Any]:
    from raypose.inference.predictor import Predictor

    predictors = []
    for folder in sorted(directory.glob("member-*")):
        spec = pickle.loads((folder / "spec.pickle").read_bytes())
        predictors.append(Predictor(spec, (folder / "artifact").read_bytes(), device, precision))
    return predictors


def median_s(work: Callable[[], Any], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def graphed(members: list[Any], images: Any, sizes: Any) -> Callable[[], None]:
    """The networks' work on these images as CUDA graphs, which the CPU starts in one go."""
    import torch

    cuda: Any = torch.cuda

    def locate(member: Any) -> None:
        with torch.inference_mode():
            member.decode_heatmaps(member.network.forward(images), sizes, None)

    graphs = []
    for member in members:
        aside = cuda.Stream()
        aside.wait_stream(cuda.current_stream())
        with cuda.stream(aside):
            for _ in range(3):
                locate(member)
        cuda.current_stream().wait_stream(aside)
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            locate(member)
        graphs.append(graph)

    def replay() -> None:
        for graph in graphs:
            graph.replay()

    return replay


def measure_video(
    video: Path, predictors: list[Any], repeats: int, decoder: str
) -> dict[str, Any]:
    """One video: the loop with 1 and 3 members, and the ceilings."""
    import torch

    from raypose.inference.frame_source import FrameSource
    from raypose.inference.loop import MemberResult
    from raypose.inference.preprocess import FrameBatch, RgbFrames
    from raypose.video.index import index_video
    from raypose.video.reader import FrameReader
    from raypose.worker.budget import Budget
    from tests.predictions import predict_frames, predict_video

    index, spec = index_video(video), predictors[0].spec
    batch_size = min(predictor.batch_size for predictor in predictors)
    on_gpu = predictors[0].network.device.type == "cuda"
    threads = Budget.of_process(on_gpu=on_gpu).reader

    def synchronize() -> None:
        if on_gpu:
            torch.cuda.synchronize()

    def decode() -> None:
        source = FrameSource(
            [index],
            0,
            index.n_frames,
            images=[(spec.image_height, spec.image_width)],
            has_context=False,
            bboxes=None,
            decoder=decoder,
            device=predictors[0].network.device,
            threads=threads,
        )
        for _ in source.batches(batch_size):
            continue
        synchronize()

    with FrameReader(index, stop=min(batch_size, index.n_frames), batch_size=batch_size) as reader:
        pixels = next(iter(reader)).frames
    n_batches = -(-index.n_frames // len(pixels))
    images = predictors[0].prepare(FrameBatch((RgbFrames(torch.from_numpy(pixels)),)))
    sizes = ((index.height, index.width),)
    stats: dict[str, Any] = {"frames": index.n_frames, "batch_size": batch_size}
    stats["decode_alone_fps"] = index.n_frames / median_s(decode, repeats)
    for n in MEMBERS:
        members = predictors[:n]

        def networks(members: list[Any] = members) -> None:
            for _ in range(n_batches):
                for member in members:
                    with torch.inference_mode():
                        member.decode_heatmaps(member.network.forward(images), sizes, None)
            synchronize()

        found: list[Any] = []

        def loop(members: list[Any] = members, found: list[Any] = found) -> None:
            found[:] = predict_video(
                index, members, batch_size=batch_size, decoder=decoder, reader_threads=threads
            )
            synchronize()

        networks()
        loop()
        apart = []
        for member, result in zip(members, found, strict=True):
            assert isinstance(result, MemberResult), result
            if result.fallback_reason:
                raise SystemExit(f"it was decoded on the CPU: {result.fallback_reason}")
            alone = predict_frames(member, pixels).float().cpu().numpy()
            apart.append(np.abs(result.values[: len(pixels)] - alone)[..., :2])
        # Random weights make heatmaps with peaks of equal height, between which a softmax jumps
        # when its input is rounded otherwise; nearly all keypoints must agree all the same.
        difference = float(np.percentile(np.concatenate(apart), 99))
        if difference > 0.05:
            raise SystemExit(f"the loop differs from single batches by {difference} px")
        networks_fps = n_batches * len(pixels) / median_s(networks, repeats)
        fps = index.n_frames / median_s(loop, repeats)
        stats[f"members_{n}"] = {
            "fps": fps,
            "networks_alone_fps": networks_fps,
            "share_of_lower_ceiling": fps / min(networks_fps, stats["decode_alone_fps"]),
            "p99_difference_px": difference,
        }
        if on_gpu:
            replay = graphed(members, images, sizes)

            def replays(replay: Callable[[], None] = replay) -> None:
                for _ in range(n_batches):
                    replay()
                synchronize()

            replays()
            fps_graphs = n_batches * len(pixels) / median_s(replays, repeats)
            stats[f"members_{n}"]["networks_alone_cuda_graphs_fps"] = fps_graphs
    return stats


def measure_peer(directory: Path, video: Path, reader: str, repeats: int) -> float:
    """Frames/s of Lightning Pose with one member, loaded."""
    from lightning_pose.api import Model
    from lightning_pose.utils.predictions import predict_video

    from raypose.video.index import index_video

    loaded = Model.from_dir(directory / "member-0" / "model")
    loaded._load()

    def work() -> None:
        with contextlib.redirect_stdout(sys.stderr):
            predict_video(str(video), loaded, reader=reader)

    work()
    return index_video(video).n_frames / median_s(work, repeats)


def measure(args: argparse.Namespace, directory: Path) -> None:
    import torch

    device = args.device or ("cuda:0" if torch.cuda.is_available() else "cpu")
    predictors = load(directory, device, args.precision)
    repeats = 1 if args.tiny else args.repeats
    result: dict[str, Any] = {
        "work": "small networks, to see that it runs"
        if args.tiny
        else "ResNet-50 at 256 px, 17 keypoints, loaded; H.264",
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "precision": args.precision,
        "decoder": args.decoder,
        "videos": {},
    }
    for video in sorted(directory.glob("*.mp4")):
        stats = measure_video(video, predictors, repeats, args.decoder)
        if args.peer:
            peer = measure_peer(directory, video, args.peer, repeats)
            stats["peer_fps"] = peer
            # As many runs of the peer, one after the other, as there are members.
            for n in MEMBERS:
                stats[f"members_{n}"]["ratio"] = n * stats[f"members_{n}"]["fps"] / peer
        result["videos"][video.stem] = stats
    if device.startswith("cuda"):
        # Of tensors; the CUDA context and the allocator's spare room come on top.
        result["peak_gpu_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
    # One process, the peer in it where it was asked for.
    result["peak_memory_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    packages = ("torch", "av", "numpy", *(("lightning-pose",) if args.peer else ()))
    if args.tiny or device == "cpu":
        print(json.dumps({"benchmark": "gpu", **result}, indent=1))
        return
    harness.report("gpu", result, packages, tiny=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", nargs="?", choices=("prepare", "measure"))
    parser.add_argument("directory", nargs="?", type=Path)
    parser.add_argument("--device", help="cuda:0, cpu; by default a GPU where there is one")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--decoder", default="cpu", choices=("cpu", "nvdec"))
    parser.add_argument("--peer", metavar="READER", help="time Lightning Pose with this reader")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="both steps, small, nothing saved")
    parser.add_argument("--project", type=Path, help="with --tiny: what tiny.py made")
    args = parser.parse_args()
    if args.tiny:
        with tiny.project_at(args.project) as project:
            measure(args, project.gpu)
    elif args.step is None or args.directory is None:
        parser.error("say prepare or measure, and a directory; or --tiny")
    elif args.step == "prepare":
        args.directory.mkdir(parents=True, exist_ok=True)
        from raypose.inference.artifact import build_artifact

        prepare(args.directory, NETWORK, SIZES, build_artifact)
    else:
        measure(args, args.directory)


if __name__ == "__main__":
    main()
