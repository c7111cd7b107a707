"""What a network takes is the same in every bit, whether frames are sampled or whole."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from raypose.inference import nvdec
from raypose.inference.collectors import SampleCollector, WholeCollector, host_collector
from raypose.inference.nvdec import SurfaceCollector
from raypose.inference.preprocess import RgbFrames, clamp_bboxes, prepare_images, sampled
from raypose.inference.sampling import Way, opencv_way
from raypose.inference.uploads import UploadCollector
from raypose.video.index import VideoIndex, index_video
from raypose.video.pixels import Collector
from raypose.video.reader import FrameReader, ReaderThreads
from tests.unit.inference.conftest import smooth_frames
from tests.videos import damage_packets, make_video

CPU = torch.device("cpu")
WIDTH, HEIGHT, N = 208, 144, 9
IMAGES = ((24, 32), (40, 24))
WAY = opencv_way() or Way.PLAIN

PLAIN: dict[str, dict[str, Any]] = {
    "h264.mp4": {},
    "bt709.mp4": {"color_range": 1, "colorspace": 1},
    "full.mp4": {"color_range": 2, "colorspace": 6},
    "full709.mp4": {"color_range": 2, "colorspace": 1},
    "bt2020.mp4": {"color_range": 1, "colorspace": 9},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "turned90.mp4": {"rotation": 90},
    "turned180.mp4": {"rotation": 180},
    "turned270.mp4": {"rotation": 270},
    "b-frames.mkv": {"bframes": 2},
    "gray.mp4": {"pix_fmt": "gray"},  # which x264 makes 4:2:0
}
CONVERTED: dict[str, dict[str, Any]] = {
    "10bit.mp4": {"pix_fmt": "yuv420p10le"},
    "422.mp4": {"pix_fmt": "yuv422p"},
    "444.mp4": {"pix_fmt": "yuv444p", "rotation": 90},
    "odd.avi": {"codec": "mpeg4", "width": WIDTH + 1, "height": HEIGHT + 1},
    "raw.avi": {"codec": "rawvideo", "pix_fmt": "bgr24"},
}


def clouds(path: Path, **options: Any) -> VideoIndex:
    options = {"n_frames": N, "width": WIDTH, "height": HEIGHT, "gop": 4, **options}
    frames = smooth_frames(N, options["height"], options["width"])
    return index_video(make_video(path, picture=lambda i, w, h: frames[i], **options))


def crops(index: VideoIndex) -> NDArray[np.int64]:
    """Bounding boxes that move, shrink below the image and touch all sides."""
    n = np.arange(N)[:, None]
    boxes = np.array([[5, 9, 120, 90]]) + n * np.array([[7, 3, -12, -9]])
    boxes[-1] = 0, 0, index.height, index.width
    boxes[-2] = index.width - 7, index.height - 5, 9, 9
    return clamp_bboxes(boxes.astype(float), index.height, index.width)


def images(
    index: VideoIndex,
    collector: Collector,
    bboxes: NDArray[np.int64] | None = None,
    threads: ReaderThreads | None = None,
) -> list[torch.Tensor]:
    """What networks of both sizes take for all frames."""
    found: list[list[torch.Tensor]] = [[] for _ in IMAGES]
    with FrameReader(index, batch_size=4, collector=collector, threads=threads) as reader:
        for batch in reader:
            chosen = None if bboxes is None else bboxes[batch.first : batch.first + len(batch)]
            for i, image in enumerate(IMAGES):
                found[i].append(prepare_images(batch.frames, *image, device=CPU, bboxes=chosen))
    return [torch.cat(parts) for parts in found]


def same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> bool:
    return all(map(torch.equal, found, expected))


@pytest.mark.parametrize("cropped", [False, True], ids=["whole", "cropped"])
@pytest.mark.parametrize("name", [*PLAIN, *CONVERTED])
def test_samples_give_the_same_images(name: str, cropped: bool, tmp_path: Path) -> None:
    index = clouds(tmp_path / name, **(PLAIN | CONVERTED)[name])
    bboxes = crops(index) if cropped else None
    expected = images(index, WholeCollector(index), bboxes)
    collector = SampleCollector(index, IMAGES, WAY, bboxes=bboxes)
    assert same(images(index, collector, bboxes), expected)
    if platform.machine() == "x86_64":
        assert all(c is None for c in collector._colours) == (name in CONVERTED)
    collector = SampleCollector(index, IMAGES, WAY, bboxes=bboxes, n_threads=3)
    assert same(images(index, collector, bboxes, ReaderThreads(convert=3)), expected)
    uploads = UploadCollector(index, IMAGES, CPU, bboxes=bboxes, n_threads=2)
    assert same(images(index, uploads, bboxes), expected)


@pytest.mark.parametrize("cropped", [False, True], ids=["whole", "cropped"])
@pytest.mark.parametrize("name", PLAIN)
def test_surfaces_give_the_same_images(
    name: str, cropped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a GPU's decoder, here in the CPU's memory; some come from the CPU."""
    index = clouds(tmp_path / name, **PLAIN[name])
    bboxes = crops(index) if cropped else None
    expected = images(index, WholeCollector(index), bboxes)
    taken: list[int] = []

    def planes(frame: Any) -> tuple[torch.Tensor, torch.Tensor]:
        taken.append(frame.pts)
        return to_planes(frame)

    to_planes = nvdec.planes
    monkeypatch.setattr(nvdec, "planes", planes)
    monkeypatch.setattr(nvdec, "is_surface", lambda frame: frame.pts % 3)
    collector = SurfaceCollector(index, IMAGES, CPU, bboxes=bboxes)
    assert same(images(index, collector, bboxes), expected)
    assert 0 < len(taken) < N


def test_rows_that_nobody_reads_stay_where_they_are(tmp_path: Path) -> None:
    index = clouds(tmp_path / "v.mp4")
    few = UploadCollector(index, [(12, 16)], CPU)
    with FrameReader(index, collector=few) as reader:
        next(iter(reader))
    (layout,) = few._layouts.values()
    assert layout.n_bytes <= 24 / HEIGHT * 2 * 1.5 * 256 * HEIGHT


def test_frames_that_change_in_the_middle_of_a_video(tmp_path: Path) -> None:
    """Of another size or range than the first, which only the stream itself tells."""
    first, other = tmp_path / "first.h264", tmp_path / "other.h264"
    clouds(first, color_range=1)
    clouds(other, width=WIDTH + 32, height=HEIGHT + 16, color_range=2)
    joined = tmp_path / "joined.h264"
    joined.write_bytes(first.read_bytes() + other.read_bytes())
    index = index_video(joined)
    assert index.n_frames == 2 * N
    expected = images(index, WholeCollector(index))
    assert same(images(index, SampleCollector(index, IMAGES, WAY)), expected)
    assert same(images(index, UploadCollector(index, IMAGES, CPU)), expected)


@pytest.mark.parametrize("cropped", [False, True], ids=["whole", "cropped"])
def test_gaps(cropped: bool, tmp_path: Path) -> None:
    whole = clouds(tmp_path / "whole.mp4", gop=1)
    index = index_video(damage_packets(Path(whole.path), tmp_path / "bad.mp4", [0, 3, 4, 8]))
    bboxes = crops(index) if cropped else None
    for fills_gaps in (False, True):
        expected = images(index, WholeCollector(index, fills_gaps=fills_gaps), bboxes)
        options: dict[str, Any] = {"bboxes": bboxes, "fills_gaps": fills_gaps}
        collector = SampleCollector(index, IMAGES, WAY, **options)
        assert same(images(index, collector, bboxes), expected)
        uploads = UploadCollector(index, IMAGES, CPU, **options)
        assert same(images(index, uploads, bboxes), expected)


@pytest.mark.parametrize("way", Way, ids=lambda way: way.name)
@pytest.mark.parametrize(
    ("frame", "image"),
    [
        ((1080, 1920), (128, 128)),
        ((1024, 1280), (256, 384)),
        ((720, 1000), (384, 256)),
        ((96, 128), (48, 64)),
        ((50, 70), (128, 96)),
        ((64, 64), (64, 64)),
        ((7, 11), (24, 32)),
        ((1, 1), (8, 8)),
        ((3, 500), (16, 24)),
    ],
)
def test_whole_frames_by_sampling(
    frame: tuple[int, int], image: tuple[int, int], way: Way
) -> None:
    if way is Way.FUSED and opencv_way() is not way:
        pytest.skip("OpenCV has no IPP here")
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(way is Way.FUSED)
    try:
        pixels = np.random.default_rng(0).integers(0, 256, (2, *frame, 3)).astype(np.uint8)
        frames = RgbFrames(torch.from_numpy(pixels))
        expected = prepare_images(frames, *image, device=CPU)
        samples = sampled(frames, image, None, way)
        assert torch.equal(prepare_images(samples, *image, device=CPU), expected)
    finally:
        cv2.ipp.setUseIPP(before)


def test_the_way_is_found() -> None:
    assert opencv_way() is not None


def test_small_frames_stay_whole(tmp_path: Path) -> None:
    index = clouds(tmp_path / "v.mp4", width=320, height=240)
    options: dict[str, Any] = {"first": 0, "bboxes": None, "n_threads": 1, "fills_gaps": False}
    assert isinstance(host_collector(index, [(128, 128)], **options), WholeCollector)
    assert isinstance(host_collector(index, [(24, 32)], **options), SampleCollector)
