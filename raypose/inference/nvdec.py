"""Frames that a GPU decodes and that stay there.

Takes the place of `video.reader.FrameReader` before the network, where `--decoder nvdec` asks for
it. FFmpeg (within PyAV) drives NVDEC, so that frames are numbered, sought and missed as on the
CPU; each comes as NV12 in the GPU's memory, is copied beside the others of its batch, and all are
turned into RGB at once, with the values that OpenCV gives. All of that is queued on the stream
that the network runs on: nothing waits for the GPU but FFmpeg itself.

No video is believed without a look: its first frames are decoded on the CPU too and compared. What
NVDEC can't do, or does otherwise, is decoded on the CPU, and the reason is told.

NVDEC does not say which blocks of a picture it could not decode. FFmpeg still parses every packet,
and reports those that are cut, unreadable, or build on a missing picture; from the first sign of
damage to the next keyframe frames are decoded on the CPU (`decoding`), so that statuses are its.

This module has not been run on a GPU. What does not need one (conversion, batches, comparison,
the way back to the CPU) is tested with frames that the CPU decodes.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from raypose.video.decoding import iter_frames
from raypose.video.frames import FrameStatus, Statuses
from raypose.video.pixels import FULL_RANGE
from raypose.video.reader import Batch, FrameReader, ReaderThreads

if TYPE_CHECKING:
    from raypose.video.index import VideoIndex

_CODECS = {"h264", "hevc", "av1", "vp8", "vp9", "mpeg2video", "mpeg4", "vc1", "mjpeg"}
_FORMATS = {"yuv420p", "yuvj420p"}
_N_COMPARED = 4
# Here, frames that the CPU decodes come out bit for bit; another processor's swscale may round
# otherwise.
_MOST_APART, _MEAN_APART = 2, 0.1
# Frames that are turned into RGB at a time: their float values take 12 bytes a pixel.
_CONVERTED = 8
_BT709 = 1


def nv12_to_rgb(
    luma: torch.Tensor, chroma: torch.Tensor, *, full_range: bool, bt709: bool
) -> torch.Tensor:
    """RGB as swscale makes it, and so OpenCV: each chroma value serves its four pixels.

    Args:
        luma: (B, H, W) uint8.
        chroma: (B, H/2, W/2, 2) uint8, Cb and Cr.
        full_range: whether values go from 0 to 255, else from 16 to 235 (240 for chroma).
        bt709: whether the matrix is that of BT.709, else of BT.601.

    Returns:
        (B, H, W, 3) uint8.
    """
    red, blue = (0.2126, 0.0722) if bt709 else (0.299, 0.114)
    green = 1 - red - blue
    gain, chroma_gain, black = (1.0, 1.0, 0.0) if full_range else (255 / 219, 255 / 224, 16.0)
    cb, cr = ((chroma.float() - 128) * (2 * chroma_gain)).unbind(-1)
    # As swscale does: each product is cut off to whole numbers before they are added up.
    parts = (
        torch.floor((1 - red) * cr),
        torch.floor(-(blue * (1 - blue) / green) * cb)
        + torch.floor(-(red * (1 - red) / green) * cr),
        torch.floor((1 - blue) * cb),
    )
    y = torch.floor((luma.float() - black) * gain)
    rgb = torch.empty((*luma.shape, 3), dtype=torch.uint8, device=luma.device)
    for channel, part in enumerate(parts):
        spread = part.repeat_interleave(2, 1).repeat_interleave(2, 2)
        rgb[..., channel] = (y + spread).clamp_(0, 255).to(torch.uint8)
    return rgb


def open_reader(
    index: VideoIndex,
    decoder: str,
    device: torch.device,
    *,
    start: int = 0,
    stop: int | None = None,
    batch_size: int = 32,
    threads: ReaderThreads | None = None,
) -> FrameReader:
    """A reader of a range of a video, by `decoder`: `cpu`, or `nvdec` of the device."""
    if decoder == "cpu":
        return FrameReader(index, start=start, stop=stop, batch_size=batch_size, threads=threads)
    return DeviceReader(
        index, device, nvdec(device), start=start, stop=stop, batch_size=batch_size
    )


@functools.lru_cache(maxsize=4)  # a worker does a video's ranges one after the other
def why_not(index: VideoIndex, device: torch.device) -> str:
    """Why a video is better decoded on the CPU; empty where NVDEC agrees with it."""
    if device.type != "cuda":
        return "the network is not on a GPU"
    if index.codec not in _CODECS or index.pix_fmt not in _FORMATS:
        return f"NVDEC is not used for {index.codec} in {index.pix_fmt}"
    if index.width % 2 or index.height % 2:
        return "its width or height is odd"
    stop = min(_N_COMPARED, index.n_frames)
    return disagreement(index, DeviceReader(index, device, nvdec(device), stop=stop))


def disagreement(index: VideoIndex, reader: DeviceReader) -> str:
    """How a reader's first frames differ from those that the CPU decodes; empty if they don't."""
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

    Args:
        index: the video.
        device: the GPU.
        hwaccel: PyAV's settings of the hardware (`nvdec`); None to decode on the CPU.
        start: first frame.
        stop: frame after the last; None for the end.
        batch_size: frames a batch; the last one may be shorter.
    """

    def __init__(
        self,
        index: VideoIndex,
        device: torch.device,
        hwaccel: Any,
        *,
        start: int = 0,
        stop: int | None = None,
        batch_size: int = 32,
    ) -> None:
        super().__init__(index, start=start, stop=stop, batch_size=batch_size)
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
                    y, uv = _planes(frame)
                    luma[k].copy_(y)
                    chroma[k].copy_(uv)
                    colours = (frame.color_range == FULL_RANGE, frame.colorspace == _BT709)
                yield Batch(first, self._rgb(luma, chroma, statuses, *colours), statuses)

    def _rgb(
        self,
        luma: torch.Tensor,
        chroma: torch.Tensor,
        statuses: Statuses,
        full_range: bool,
        bt709: bool,
    ) -> torch.Tensor:
        full_range = full_range or self.index.pix_fmt.startswith("yuvj")
        parts = zip(torch.split(luma, _CONVERTED), torch.split(chroma, _CONVERTED), strict=True)
        rgb = torch.cat([nv12_to_rgb(y, c, full_range=full_range, bt709=bt709) for y, c in parts])
        for k in np.flatnonzero(statuses == FrameStatus.MISSING):
            rgb[k] = 0
        if self.index.rotation:
            rgb = torch.rot90(rgb, -(self.index.rotation // 90), (1, 2))
        return rgb


def _planes(frame: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Luma and chroma of a frame, where the decoder has put them."""
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
