"""Samples of frames on a GPU.

`UploadCollector` takes frames that the CPU has decoded: those rows of the decoder's planes that
the networks' images are made from go up through a ring of pinned buffers, and are sampled there.
(`nvdec.SurfaceCollector` takes those that the GPU has decoded.) No RGB frames are made of them,
and memory is bounded whatever the size of a frame.

Copies and sampling are queued on a stream of their own, beside the networks'. Whoever uses the
samples lets its own stream wait for `SampledFrames.ready`; threads wait for nothing but a buffer
that is still being copied from.

All of this works with tensors on the CPU as well, and is tested there; it has not yet been run on
a GPU.
"""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raypose.inference.collectors import Image, ImageCollector
from raypose.inference.colours import Colours, Kind, exact_colours
from raypose.inference.preprocess import SampledFrames, gpu_way
from raypose.inference.sampling import Plane, as_coded, gather, pixels_read, rgb_planes
from raypose.video.index import VideoIndex

# Copying from one buffer goes on while the next one is filled.
_N_BUFFERS, _BUFFER_BYTES = 3, 32 << 20
# Frames that are sampled at a time: where samples lie takes eight times the memory of samples.
_MOST_AT_ONCE = 32


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """What is sent of frames of one kind.

    Attributes:
        colours: what turns its values into RGB; None where it is RGB.
        planes: how the three channels lie in what is sent.
        n_bytes: that are sent of a frame.
        pairs: numbers of the pairs of rows that are sent, ascending; None for all rows.
        indexes: of the samples in what is sent, by image, where it is the same for all frames.
    """

    colours: Colours | None
    planes: tuple[Plane, ...]
    n_bytes: int
    pairs: NDArray[np.int64] | None = None
    indexes: dict[Image, torch.Tensor] = field(default_factory=dict)

    def index(self, row: Any, column: Any) -> list[Any]:
        """Where pixels of the coded frame lie, for each channel."""
        if self.pairs is not None:
            row = 2 * np.searchsorted(self.pairs, row >> 1) + (row & 1)
        return [plane.index(row, column) for plane in self.planes]


@dataclass(slots=True)
class _Chunk:
    """Consecutive frames of a batch that go up together."""

    layout: _Layout
    first: int
    buffer: torch.Tensor
    n_frames: int = 0

    @property
    def room(self) -> int:
        return min(_MOST_AT_ONCE, len(self.buffer) // self.layout.n_bytes)

    def frames(self) -> torch.Tensor:
        """(n_frames, n_bytes) of the buffer."""
        n_bytes = self.layout.n_bytes
        return self.buffer[: self.n_frames * n_bytes].view(self.n_frames, n_bytes)


class _Ring:
    """Buffers that are filled in turn."""

    def __init__(self, device: torch.device) -> None:
        self._pinned = device.type == "cuda"
        self._buffers: deque[tuple[torch.Tensor, Any]] = deque()

    def next(self, n_bytes: int) -> torch.Tensor:
        """A buffer with room for a frame of `n_bytes`, from which nothing is copied any more."""
        if len(self._buffers) == _N_BUFFERS:
            buffer, copied = self._buffers.popleft()
            if copied is not None:
                copied.synchronize()
            if len(buffer) >= n_bytes:
                return buffer
        size = max(_BUFFER_BYTES, n_bytes)
        return torch.empty(size, dtype=torch.uint8, pin_memory=self._pinned)

    def release(self, buffer: torch.Tensor, copied: Any) -> None:
        """Give a buffer back, with the event of the last copy from it."""
        self._buffers.append((buffer, copied))


class UploadCollector(ImageCollector):
    """Samples, on a device, of frames that the CPU has decoded; for the options see
    `collectors.ImageCollector`."""

    def __init__(
        self, index: VideoIndex, images: Sequence[Image], device: torch.device, **options: Any
    ) -> None:
        super().__init__(index, images, gpu_way(), **options)
        self._device = device
        self._layouts: dict[Any, _Layout] = {}
        self._ring = _Ring(device)
        self._stream: Any = None
        self._chunk: _Chunk | None = None
        self._samples: dict[Image, torch.Tensor] = {}

    def begin(self, first: int, size: int) -> None:
        if self._device.type == "cuda" and self._stream is None:
            self._stream = self._find_stream()
        self._at = first - self._first
        with self._on_stream():
            self._samples = {
                image: torch.zeros((size, 3, 2, 2, *image), dtype=torch.uint8, device=self._device)
                for image in self._images
            }
        self._colours = [None] * size

    def _find_stream(self) -> Any:
        """The GPU's stream for copies and sampling."""
        return _upload_stream(self._device)

    def _on_stream(self) -> contextlib.AbstractContextManager[Any]:
        return (
            contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)
        )

    def _event(self) -> Any:
        """One that happens when all that has been queued is done; None on a CPU."""
        return None if self._stream is None else self._stream.record_event()

    def _put(self, k: int, frame: Any) -> None:
        layout = self._layout_of(frame)
        self._colours[k] = layout.colours
        chunk = self._chunk
        if (
            chunk is None
            or chunk.layout is not layout
            or k != chunk.first + chunk.n_frames
            or chunk.n_frames == chunk.room
        ):
            self._send()
            chunk = self._chunk = _Chunk(layout, k, self._ring.next(layout.n_bytes))
        chunk.n_frames += 1
        self._workers.submit(self._copy, frame, layout, chunk.frames()[-1].numpy())

    def _blank(self, k: int) -> None:
        """It is black already."""

    def _layout_of(self, frame: Any) -> _Layout:
        kind = Kind.of(frame)
        width, height = self._coded
        colours = exact_colours(kind) if (kind.width, kind.height) == (width, height) else None
        strides = tuple(plane.line_size for plane in frame.planes) if colours else ()
        key = colours, strides
        if key not in self._layouts and colours is None:
            self._layouts[key] = _Layout(None, rgb_planes(width), 3 * width * height)
        elif key not in self._layouts:
            pairs = self._pairs_read()
            n_pairs = height // 2 if pairs is None else len(pairs)
            luma, chroma = strides[:2]
            starts = [0, n_pairs * 2 * luma, n_pairs * (2 * luma + chroma)]
            planes = (
                Plane(luma),
                *(Plane(chroma, start=start, halved=True) for start in starts[1:]),
            )
            n_bytes = starts[2] + n_pairs * chroma
            self._layouts[key] = _Layout(colours, planes, n_bytes, pairs)
        return self._layouts[key]

    def _pairs_read(self) -> NDArray[np.int64] | None:
        """Numbers of the pairs of coded rows that samples lie in; None where that is most."""
        if self._bboxes is not None:
            return None
        rows = [self._places(image)[0] for image in self._images]
        pairs = np.unique(np.concatenate([row.ravel() for row in rows]) >> 1)
        return pairs if len(pairs) < 0.9 * (self._coded[1] // 2) else None

    def _copy(self, frame: Any, layout: _Layout, out: NDArray[np.uint8]) -> None:
        if layout.colours is None:
            rgb = self._convert(frame)
            np.copyto(out.reshape(rgb.shape), rgb)
            return
        start = 0
        for plane in frame.planes:
            pairs = np.frombuffer(plane, np.uint8).reshape(self._coded[1] // 2, -1)
            n_bytes = pairs.shape[1]
            n_pairs = len(pairs) if layout.pairs is None else len(layout.pairs)
            target = out[start : start + n_pairs * n_bytes].reshape(n_pairs, n_bytes)
            if layout.pairs is None:
                np.copyto(target, pairs)
            else:
                pairs.take(layout.pairs, axis=0, out=target, mode="clip")
            start += n_pairs * n_bytes

    def _send(self) -> None:
        """Queue the copy and the sampling of the frames that wait in the buffer."""
        chunk, self._chunk = self._chunk, None
        if chunk is None:
            return
        self._workers.wait()
        end = chunk.first + chunk.n_frames
        with self._on_stream():
            frames = chunk.frames().to(self._device, non_blocking=True)
            self._ring.release(chunk.buffer, self._event())
            for image, samples in self._samples.items():
                index = self._index(chunk.layout, image, chunk.first, end)
                samples[chunk.first : end] = gather(frames, index)

    def _index(self, layout: _Layout, image: Image, start: int, end: int) -> torch.Tensor:
        """Where the samples of frames lie in what was sent of them, on the device."""
        if self._bboxes is not None:
            return torch.stack(layout.index(*self._places_on_device(image, start, end)), 1)
        if image not in layout.indexes:
            index = np.stack(layout.index(*self._places(image)), 1)
            layout.indexes[image] = torch.from_numpy(index).to(self._device)
        return layout.indexes[image]

    def _places(self, image: Image) -> tuple[Any, Any]:
        """Rows and columns of whole coded frames, (1, 2, 2, h, w) together."""
        return as_coded(*pixels_read(self._size, image, None, self._way), self._size, self._turns)

    def _places_on_device(self, image: Image, start: int, end: int) -> tuple[Any, Any]:
        """The same of frames of the batch, (1 or B, 2, 2, h, w), as tensors on the device."""
        bboxes = self._bboxes
        if bboxes is not None:
            bboxes = bboxes[self._at + start : self._at + end]
        read = pixels_read(self._size, image, bboxes, self._way)
        rows, columns = (torch.from_numpy(values).to(self._device) for values in read)
        return as_coded(rows, columns, self._size, self._turns)

    def _finished(self) -> SampledFrames:
        self._send()
        colours = tuple(self._colours)
        return SampledFrames(self._size, self._samples, colours, self._way, self._event())

    def close(self) -> None:
        super().close()
        self._chunk = None


@functools.cache
def _upload_stream(device: torch.device) -> Any:
    """One for all videos: torch keeps free memory by stream."""
    cuda: Any = torch.cuda  # its streams have no types
    return cuda.Stream(device)
