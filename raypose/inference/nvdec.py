"""Frames that a GPU decodes and that stay there.

Takes the place of `video.reader.FrameReader` if `--decoder nvdec` asks for it. FFmpeg (within
PyAV) drives NVDEC, so frames are numbered, sought and reported missing as on the CPU; each arrives
as NV12 in the GPU's memory, and a batch is converted to RGB with the values that OpenCV gives. All
of that is queued on the network's stream: nothing waits for the GPU except FFmpeg itself.

No video is trusted unchecked: its first frames are decoded on the CPU too and compared. What NVDEC
can't decode, or decodes differently, is decoded on the CPU, and the reason is reported.

NVDEC does not say which blocks of a picture it could not decode. FFmpeg still parses every packet;
from the first sign of damage to the next keyframe frames are decoded on the CPU (`decoding`), so
their statuses are the CPU's.

This module has not been run on a GPU. What does not need one is tested with frames that the CPU
decodes.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from raypose.inference.preprocess import nv12_to_rgb
from raypose.video.decoding import iter_frames
from raypose.video.frames import FrameStatus
from raypose.video.pixels import FULL_RANGE
from raypose.video.reader import Batch, FrameReader, ReaderThreads

if TYPE_CHECKING:
    from raypose.video.index import VideoIndex

_CODECS = {"h264", "hevc", "av1", "vp8", "vp9", "mpeg2video", "mpeg4", "vc1", "mjpeg"}
_FORMATS = {"yuv420p", "yuvj420p"}
_N_COMPARED = 4
# Frames that this machine's CPU decodes come out bit for bit; another processor's swscale may
# round differently.
_MOST_APART, _MEAN_APART = 2, 0.1
# Frames that are converted to RGB at a time: their float values take 12 bytes a pixel.
_CONVERTED = 8
_BT709 = 1


def open_reader(
    index: VideoIndex,
    decoder: str,
    device: torch.device,
    threads: ReaderThreads | None = None,
    **options: Any,
) -> FrameReader:
    """A reader of a range of a video, by `decoder`: `cpu`, or `nvdec` of the device."""
    if decoder == "cpu":
        return FrameReader(index, threads=threads, **options)
    return DeviceReader(index, device, nvdec(device), **options)


@functools.lru_cache(maxsize=4)  # a worker predicts a video's ranges one after the other
def unsupported_reason(index: VideoIndex, device: torch.device) -> str:
    """Why a video must be decoded on the CPU; empty if NVDEC agrees with it."""
    if device.type != "cuda":
        return "the network is not on a GPU"
    if index.codec not in _CODECS or index.pix_fmt not in _FORMATS:
        return f"NVDEC is not used for {index.codec} in {index.pix_fmt}"
    if index.width % 2 or index.height % 2:
        return "its width or height is odd"
    stop = min(_N_COMPARED, index.n_frames)
    return disagreement(index, DeviceReader(index, device, nvdec(device), stop=stop))


def disagreement(index: VideoIndex, reader: DeviceReader) -> str:
    """How a reader's first frames differ from those of the CPU; empty if they don't."""
    import av

    try:
        with reader:
            found = next(iter(reader))
            frames = found.frames.cpu().numpy().astype(np.int16)
    except (av.FFmpegError, NotImplementedError, RuntimeError, ValueError) as error:
        return f"NVDEC can't decode it ({type(error).__name__}: {error})".splitlines()[0]
    with FrameReader(index, stop=len(found), batch_size=len(found)) as by_cpu:
        expected = next(iter(by_cpu))
    if not np.array_equal(expected.statuses, found.statuses):
        return "NVDEC loses frames of it"
    apart = np.abs(expected.frames - frames)
    if apart.max() > _MOST_APART or apart.mean() > _MEAN_APART:
        return f"NVDEC's frames differ by up to {apart.max()} of 255"
    return ""


class DeviceReader(FrameReader):
    """Batches of RGB frames of a range of a video, decoded by a GPU in the background.

    `hwaccel` are PyAV's settings of the hardware (`nvdec`); None to decode on the CPU.
    """

    def __init__(
        self, index: VideoIndex, device: torch.device, hwaccel: Any, **options: Any
    ) -> None:
        super().__init__(index, **options)
        self._device = device
        self._hwaccel = hwaccel

    def _decoded(self) -> Iterator[Batch]:
        frames = iter_frames(self.index, self.start, self.stop, threads=1, hwaccel=self._hwaccel)
        width, height = self.index.coded_size
        with torch.no_grad(), contextlib.closing(frames):
            for first in range(self.start, self.stop, self.batch_size):
                size = min(self.batch_size, self.stop - first)
                luma = torch.empty((size, height, width), dtype=torch.uint8, device=self._device)
                chroma = luma.new_empty((size, height // 2, width // 2, 2))
                statuses = np.zeros(size, np.int8)
                colours = (False, False)
                for k, (_, frame, status) in enumerate(itertools.islice(frames, size)):
                    statuses[k] = status
                    if frame is None:
                        luma[k], chroma[k] = 0, 128
                        continue
                    y, uv = planes(frame)
                    luma[k].copy_(y)
                    chroma[k].copy_(uv)
                    colours = (frame.color_range == FULL_RANGE, frame.colorspace == _BT709)
                rgb = self._rgb(luma, chroma, *colours)
                for missing in np.flatnonzero(statuses == FrameStatus.MISSING):
                    rgb[missing] = 0
                if self.index.rotation:
                    rgb = torch.rot90(rgb, -(self.index.rotation // 90), (1, 2))
                yield Batch(first, rgb, statuses)

    def _rgb(
        self, luma: torch.Tensor, chroma: torch.Tensor, full_range: bool, bt709: bool
    ) -> torch.Tensor:
        full_range = full_range or self.index.pix_fmt.startswith("yuvj")
        parts = zip(torch.split(luma, _CONVERTED), torch.split(chroma, _CONVERTED), strict=True)
        return torch.cat([nv12_to_rgb(y, c, full_range=full_range, bt709=bt709) for y, c in parts])


def planes(frame: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Luma and chroma of a frame, in the memory that the decoder put them in."""
    if frame.format.name != "cuda":
        same = {"src_color_range": frame.color_range, "dst_color_range": frame.color_range}
        frame = frame.reformat(format="nv12", **same)
    # Through capsules: torch would ask PyAV to wait for a stream, which it refuses.
    y, uv = (torch.utils.dlpack.from_dlpack(plane.__dlpack__()) for plane in frame.planes)
    return y, uv


def nvdec(device: torch.device) -> Any:
    """PyAV's settings for decoding on a GPU and leaving the frames there."""
    from av.codec.hwaccel import HWAccel

    return HWAccel("cuda", str(device.index or 0), allow_software_fallback=False, is_hw_owned=True)
