"""What is kept of decoded frames for the networks: samples, in place of whole frames.

`SampleCollector` takes them from the decoder's planes, and converts nothing: so it takes little of
the decoder's thread, and a batch is small however large the frames are. Where colours can't be
converted pixel by pixel in FFmpeg's numbers (`colours.exact_colours`), a whole frame is converted,
and then sampled.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raypose.inference.colours import Colours, Kind, exact_colours
from raypose.inference.preprocess import RgbFrames, SampledFrames
from raypose.inference.sampling import Plane, Way, as_coded, opencv_way, pixels_read
from raypose.video.index import VideoIndex
from raypose.video.pixels import Collector, RgbCollector, RgbConverter

Image = tuple[int, int]
"""Rows and columns of the image that a network takes."""

# How many times more pixels than a frame's samples have must it have for sampling to be quicker on
# a CPU than converting and resizing the whole frame.
_PAYS = 5


class ImageCollector(Collector):
    """What all collectors of samples know of a video and of the images made of its frames.

    Args:
        index: the video.
        images: that are made of each frame.
        way: of interpolation.
        first: number of the frame to which the first of the bounding boxes belongs.
        bboxes: (n, 4) of the frames from `first` on, within the frame; None for whole frames.
        n_threads: as for every `Collector`, and so `fills_gaps`.
    """

    def __init__(
        self,
        index: VideoIndex,
        images: Sequence[Image],
        way: Way,
        *,
        first: int = 0,
        bboxes: NDArray[np.int64] | None = None,
        n_threads: int = 1,
        fills_gaps: bool = False,
    ) -> None:
        super().__init__(n_threads, fills_gaps=fills_gaps)
        self._size = index.height, index.width
        self._coded, self._path = index.coded_size, index.path
        self._turns = index.rotation // 90
        self._images, self._way = images, way
        self._first, self._bboxes = first, bboxes
        self._convert = RgbConverter(*self._coded)
        self._at = 0
        self._colours: list[Colours | None] = []

    @property
    def bytes_per_frame(self) -> int:
        return sum(12 * height * width for height, width in self._images)


class SampleCollector(ImageCollector):
    """Samples of frames in the CPU's memory: `SampledFrames`."""

    def __init__(
        self, index: VideoIndex, images: Sequence[Image], way: Way, **options: Any
    ) -> None:
        super().__init__(index, images, way, **options)
        self._samples: dict[Image, NDArray[np.uint8]] = {}

    def begin(self, first: int, size: int) -> None:
        self._at = first - self._first
        self._samples = {
            image: np.empty((size, 3, 2, 2, *image), np.uint8) for image in self._images
        }
        self._colours = [None] * size

    def _put(self, k: int, frame: Any) -> None:
        kind = Kind.of(frame)
        same = (kind.width, kind.height) == self._coded
        self._colours[k] = exact_colours(kind) if same else None
        self._workers.submit(self._take, k, frame, self._colours[k])

    def _take(self, k: int, frame: Any, colours: Colours | None) -> None:
        bbox = None if self._bboxes is None else tuple(self._bboxes[self._at + k].tolist())
        rgb = self._convert(frame) if colours is None else None
        for image, samples in self._samples.items():
            if rgb is not None:
                places = _places(self._size, image, self._turns, bbox, self._way)
                samples[k] = np.moveaxis(rgb[places], -1, 0)
                continue
            strides = tuple(plane.line_size for plane in frame.planes)
            at = _planar_index(self._size, image, self._turns, bbox, self._way, *strides[:2])
            for plane, index, out in zip(frame.planes, (*at, at[1]), samples[k], strict=True):
                # With another mode, numpy would take them into a buffer first.
                np.frombuffer(plane, np.uint8).take(index, out=out, mode="clip")

    def _blank(self, k: int) -> None:
        self._colours[k] = None
        for samples in self._samples.values():
            samples[k] = 0

    def _finished(self) -> SampledFrames:
        samples = {image: torch.from_numpy(values) for image, values in self._samples.items()}
        return SampledFrames(self._size, samples, tuple(self._colours), self._way)


def _places(
    size: tuple[int, int], image: Image, turns: int, bbox: tuple[int, ...] | None, way: Way
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of a coded frame that its samples lie in."""
    rows, columns = pixels_read(size, image, None if bbox is None else np.array([bbox]), way)
    places: tuple[NDArray[np.int64], NDArray[np.int64]]
    places = as_coded(rows[0], columns[0], size, turns)
    return places


@functools.lru_cache(maxsize=8)
def _planar_index(
    size: tuple[int, int],
    image: Image,
    turns: int,
    bbox: tuple[int, ...] | None,
    way: Way,
    luma_stride: int,
    chroma_stride: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where samples lie in the planes of luma and of chroma: each (2, 2, h, w)."""
    places = _places(size, image, turns, bbox, way)
    luma, chroma = Plane(luma_stride), Plane(chroma_stride, halved=True)
    return luma.index(*places), chroma.index(*places)


class WholeCollector(RgbCollector):
    """Whole frames in the CPU's memory: `RgbFrames`."""

    def _finished(self) -> Any:
        return RgbFrames(torch.from_numpy(super()._finished()))


def host_collector(
    index: VideoIndex,
    images: Sequence[Image],
    *,
    first: int,
    bboxes: NDArray[np.int64] | None,
    n_threads: int,
    fills_gaps: bool,
) -> Collector:
    """The collector that suits networks on the CPU: whole frames where these are small."""
    n_read = sum(4 * height * width for height, width in images)
    way = opencv_way()
    if way is None or index.height * index.width < _PAYS * n_read:
        return WholeCollector(index, n_threads, fills_gaps=fills_gaps)
    return SampleCollector(
        index, images, way, first=first, bboxes=bboxes, n_threads=n_threads, fills_gaps=fills_gaps
    )
