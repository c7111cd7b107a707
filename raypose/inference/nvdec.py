"""Frames that a GPU decodes and that stay there.

FFmpeg (within PyAV) drives NVDEC, so frames are numbered, sought and reported missing as on the
CPU; each arrives as NV12 in the GPU's memory, where `SurfaceCollector` samples it. Nothing waits
for the GPU except FFmpeg itself, and a surface that is still being sampled.

No video is trusted unchecked: its first frames are decoded on the CPU too, and must be the same
in every bit. What NVDEC can't decode, or decodes differently, is decoded on the CPU, and the
reason is reported.

NVDEC does not say which blocks of a picture it could not decode. FFmpeg still parses every packet;
from the first sign of damage to the next keyframe frames are decoded on the CPU (`decoding`), so
their statuses are the CPU's.

What does not need a GPU is tested with frames that the CPU decodes.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from raypose.errors import VideoError
from raypose.inference.collectors import Image
from raypose.inference.colours import Kind, exact_colours
from raypose.inference.sampling import Plane
from raypose.inference.uploads import UploadCollector
from raypose.video.decoding import Frame, iter_frames

if TYPE_CHECKING:
    from raypose.video.index import VideoIndex

_CODECS = {"h264", "hevc", "av1", "vp8", "vp9", "mpeg2video", "mpeg4", "vc1", "mjpeg"}
_FORMATS = {"yuv420p", "yuvj420p"}
_N_COMPARED = 4
# Surfaces that are held until they have been sampled; a decoder has few.
_MOST_HELD = 2


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
    return disagreement(index, iter_frames(index, 0, stop, hwaccel=nvdec(device)), device)


def disagreement(index: VideoIndex, frames: Iterator[Frame], device: torch.device) -> str:
    """How a video's first frames, as a GPU decodes them, differ from the CPU's; or empty."""
    import av

    try:
        make_current(device)
        found = [(status, _values(frame)) for _, frame, status in frames]
    except (av.FFmpegError, AssertionError, NotImplementedError, OSError, RuntimeError,
            ValueError, VideoError) as error:  # fmt: skip
        return f"NVDEC can't decode it ({type(error).__name__}: {error})".splitlines()[0]
    for (_, frame, status), (its_status, its_values) in zip(
        iter_frames(index, 0, len(found)), found, strict=True
    ):
        if status != its_status:
            return "NVDEC drops some of its frames"
        if frame is not None and exact_colours(Kind.of(frame)) is None:
            return "its colours can't be converted on the GPU as FFmpeg converts them"
        for mine, its in zip(_values(frame), its_values, strict=True):
            if not torch.equal(mine, its):
                return f"NVDEC's frames differ by up to {_apart(mine, its)} of 255"
    return ""


def _values(frame: Any) -> list[torch.Tensor]:
    return [] if frame is None else [plane.cpu() for plane in planes(frame)]


def _apart(mine: torch.Tensor, its: torch.Tensor) -> int:
    if mine.shape != its.shape:
        return 255
    return int((mine.to(torch.int16) - its.to(torch.int16)).abs().max())


class SurfaceCollector(UploadCollector):
    """Samples of frames that a GPU has decoded, taken from where they lie."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._indexes: dict[tuple[Image, int, int], tuple[torch.Tensor, torch.Tensor]] = {}
        self._held: deque[tuple[Any, Any]] = deque()

    def begin(self, first: int, size: int) -> None:
        make_current(self._device)  # in the thread in which FFmpeg will open the decoder
        super().begin(first, size)

    def _find_stream(self) -> Any:
        # FFmpeg's own, in which surfaces are written; networks run beside it.
        return torch.cuda.default_stream(self._device)

    def _put(self, k: int, frame: Any) -> None:
        if not is_surface(frame):
            super()._put(k, frame)
            return
        if (frame.width, frame.height) != self._coded:
            hint = "Leave --decoder nvdec out."
            raise VideoError("its pictures change their size", path=self._path, hint=hint)
        self._send()  # what has been put must not overwrite what comes later
        self._colours[k] = Kind.of(frame).colours
        luma, chroma = planes(frame)
        with self._on_stream():
            for image, samples in self._samples.items():
                of_luma, of_chroma = self._surface_index(
                    image, k, luma.stride(0), chroma.stride(0)
                )
                samples[k, 0] = torch.take(_flat(luma), of_luma)
                samples[k, 1:] = torch.take(_flat(chroma), of_chroma)
        self._hold(frame)

    def _surface_index(
        self, image: Image, k: int, luma_stride: int, chroma_stride: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Where samples lie in the plane of luma, (2, 2, h, w), and that of chroma, (2, …)."""
        key = image, luma_stride, chroma_stride
        if key in self._indexes:
            return self._indexes[key]
        row, column = self._places_on_device(image, k, k + 1)
        of_luma = Plane(luma_stride).index(row, column)[0]
        both = [Plane(chroma_stride, 2, i, halved=True).index(row, column)[0] for i in range(2)]
        found = of_luma, torch.stack(both)
        if self._bboxes is None:
            self._indexes[key] = found
        return found

    def _hold(self, frame: Any) -> None:
        """Keep a surface until it has been sampled: the decoder would write into it."""
        event = self._event()
        if event is None:
            return
        self._held.append((frame, event))
        if len(self._held) > _MOST_HELD:
            _, sampled = self._held.popleft()
            sampled.synchronize()

    def close(self) -> None:
        while self._held:
            _, sampled = self._held.popleft()
            sampled.synchronize()
        super().close()


def is_surface(frame: Any) -> bool:
    """Whether a decoded frame lies in a GPU's memory."""
    return bool(frame.format.name == "cuda")


def planes(frame: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Luma (H, W) and chroma (H/2, W/2, 2) of a frame, in the memory that they lie in."""
    if frame.format.name != "cuda":
        same = {"src_color_range": frame.color_range, "dst_color_range": frame.color_range}
        frame = frame.reformat(format="nv12", **same)
    # Through capsules: torch would ask PyAV to wait for a stream, which it refuses.
    y, uv = (torch.utils.dlpack.from_dlpack(plane.__dlpack__()) for plane in frame.planes)
    return y, uv


def _flat(plane: torch.Tensor) -> torch.Tensor:
    """All bytes from a plane's first to its last, with those between its rows."""
    n_bytes = (plane.shape[0] - 1) * plane.stride(0) + plane[0].numel()
    return plane.as_strided((n_bytes,), (1,))


def make_current(device: torch.device) -> None:
    """Make torch's context of a GPU the one that is current in this thread."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.zeros(1, device=device)


def nvdec(device: torch.device) -> Any:
    """PyAV's settings for decoding on a GPU and leaving the frames there.

    FFmpeg takes the context that is current in the thread that opens the decoder (`make_current`):
    it would make one of its own with other flags than torch's, which CUDA refuses.
    """
    from av.codec.hwaccel import HWAccel

    return HWAccel(
        "cuda",
        str(device.index or 0),
        allow_software_fallback=False,
        options={"primary_ctx": "0", "current_ctx": "1"},
        is_hw_owned=True,
    )
