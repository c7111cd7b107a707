"""Labelled videos: a video with its predicted keypoints drawn on it.

Takes predictions in memory and the video they were made from, and writes an MP4 of the same size,
rate, rotation and colours. Markers and text are those of Lightning Pose's own labelled videos:
a filled circle in the keypoint's colour wherever the likelihood is above the threshold; time and
frame number in white on black in the upper left. A `Look` says what is drawn besides: a skeleton
and trails (`lines`), and a `legend`, which makes the picture wider. All is drawn on the decoder's
own YUV planes, which converts no pixel to RGB and back: what lies beside it stays as it is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raypose.errors import TableError
from raypose.rendering.encoding import EncodeOptions, encode_frames
from raypose.rendering.legend import draw_legend
from raypose.rendering.lines import Lines
from raypose.rendering.style import Look, UInt8, colormap_look
from raypose.video.index import VideoIndex
from raypose.video.pixels import FULL_RANGE, FrameConverter, output_format, plane_pixels
from raypose.video.writer import LABELED, EncoderSettings, copy_colors

if TYPE_CHECKING:
    from typing_extensions import Unpack

_BT709 = 1
_TEXT_PADDING = 6
_BLOCK = 64


def draw_labeled_video(
    index: VideoIndex,
    xy: NDArray[np.floating[Any]],
    likelihood: NDArray[np.floating[Any]],
    out_path: str | os.PathLike[str],
    *,
    threshold: float,
    look: Look | None = None,
    start: int = 0,
    stop: int | None = None,
    settings: EncoderSettings = LABELED,
    **options: Unpack[EncodeOptions],
) -> int:
    """Draw the keypoints of a video, or of a part of it, and encode it.

    A frame that is missing shows the picture before it. Time and frame number shown are those of
    the whole video, also where only frames `start` to `stop` are written. Returns their number.

    Args:
        xy: keypoints of the whole video in pixels of the frame as it is shown, (N, K, 2).
        likelihood: (N, K); markers are drawn where it is above `threshold`.
        look: how the keypoints are drawn; None for Lightning Pose's own markers.

    Raises:
        TableError: the number of rows is not the number of frames.
        VideoError, OutputError, CancelledError: as `snippet.cut_snippet`.
    """
    if len(xy) != index.n_frames or len(likelihood) != index.n_frames:
        message = f"the predictions have {len(xy)} rows but the video has {index.n_frames} frames"
        raise TableError(message, path=index.path, hint="Predict this video again.")

    look = look or colormap_look(likelihood.shape[1])
    strip = draw_legend(look, index.height) if look.legend else None
    shown = index if strip is None else replace(index, width=index.width + strip.shape[1])

    def renderer() -> Any:
        return FrameRenderer(index, xy, likelihood, threshold, look, strip).render

    stop = index.n_frames if stop is None else stop
    return encode_frames(index, start, stop, out_path, renderer, settings, like=shown, **options)


class FrameRenderer:
    """Draws frame, markers and text on a canvas in the encoder's pixel format.

    The canvas is one `av.VideoFrame`, drawn over for every frame: a decoder's own frames must not
    change, since later ones refer to them. `strip` is the legend; the other arguments are those of
    `draw_labeled_video`.
    """

    def __init__(
        self,
        index: VideoIndex,
        xy: NDArray[np.floating[Any]],
        likelihood: NDArray[np.floating[Any]],
        threshold: float,
        look: Look,
        strip: UInt8 | None = None,
    ) -> None:
        import av

        self._index = index
        self._wide = index if strip is None else replace(index, width=index.width + strip.shape[1])
        self._times_s = index.times_s
        self._look, self._strip = look, strip
        self._xy, self._likelihood, self._threshold = xy, likelihood, threshold
        # Markers and text are smaller in small frames, which Lightning Pose enlarges.
        side = min(index.width, index.height)
        self._scale = 0.4 if side <= 100 else 0.5 if side <= 192 else 1.0
        pix_fmt = output_format(index)
        self._shift = 1 if pix_fmt == "yuv420p" else 0
        self._convert = FrameConverter(index)
        width, height = self._wide.coded_size
        self._canvas = av.VideoFrame(width, height, pix_fmt)
        self._planes = [plane_pixels(plane) for plane in self._canvas.planes]
        self._area = self._coded_area(0, index.width)
        self._picture = self._parts_of(self._area)
        self._disk, self._inner = _disk(max(1, round(4 * self._scale)))
        self._lines: Lines | None = None
        if look.trail or len(look.bones):
            x, y = self._area[0].start, self._area[1].start
            self._lines = Lines(
                look,
                self._picture,
                self._shift,
                lambda points: _to_coded(points, self._wide) - (x, y),
                self._scale,
            )
        self._flat = [np.frombuffer(plane, np.uint8) for plane in self._canvas.planes]
        self._block = (0, 0)
        self._dots: tuple[_Dots, ...] = ()
        # Both follow from the colours of the first frame.
        self._yuv = np.empty((0, 3), np.uint8)
        self._black = 16

    def render(self, n: int, frame: Any | None) -> Any:
        """The canvas with frame `n` on it; if that is missing, with the picture before it."""
        picture = self._convert(frame)
        self._take_colors(picture)
        for plane, source in zip(self._picture, picture.planes, strict=True):
            np.copyto(plane, plane_pixels(source))
        if self._lines is not None:
            self._lines.draw(n, self._xy, self._is_drawn, self._yuv)
        self._draw_markers(n)
        self._draw_text(n)
        return self._canvas

    def _is_drawn(self, rows: slice) -> NDArray[np.bool_]:
        """Whether the keypoints of some frames are drawn, (n, K)."""
        # NaN compares as False.
        sure = self._likelihood[rows] > self._threshold
        drawn: NDArray[np.bool_] = sure & np.isfinite(self._xy[rows]).all(axis=2)
        return drawn

    def _coded_area(self, left: int, right: int) -> tuple[slice, slice]:
        """Columns and rows of the canvas that show these columns of picture and legend."""
        corners = np.array([[left, 0], [right - 1, self._index.height - 1]])
        (x0, y0), (x1, y1) = np.sort(_to_coded(corners, self._wide), axis=0)
        return slice(int(x0), int(x1) + 1), slice(int(y0), int(y1) + 1)

    def _parts_of(self, area: tuple[slice, slice]) -> list[UInt8]:
        """Views of an area of the canvas, of each plane."""
        columns, rows = area
        views = [self._planes[0][rows, columns]]
        for plane in self._planes[1:]:
            half = (slice(s.start >> self._shift, s.stop >> self._shift) for s in (rows, columns))
            views.append(plane[tuple(half)])
        return views

    def _take_colors(self, frame: Any) -> None:
        if len(self._yuv):
            return
        full = frame.color_range == FULL_RANGE
        # White is 235 in limited range.
        self._black = 0 if full else 16
        self._yuv = _to_yuv(self._look.colors, frame.colorspace, full)
        copy_colors(frame, self._canvas)
        if self._strip is not None:
            self._draw_strip(self._strip, frame.colorspace, full)

    def _draw_strip(self, strip: UInt8, colorspace: int, full: bool) -> None:
        """Draw the legend, which stays on the canvas."""
        yuv = _to_yuv(strip.reshape(-1, 3), colorspace, full).reshape(strip.shape)
        yuv = np.rot90(yuv, self._index.rotation // 90)
        views = self._parts_of(self._coded_area(self._index.width, self._wide.width))
        for channel, view in enumerate(views):
            samples = yuv[..., channel]
            if channel and self._shift:
                height, width = view.shape
                blocks = samples.reshape(height, 2, width, 2)
                samples = blocks.mean(axis=(1, 3)).round().astype(np.uint8)
            view[:] = samples

    def _draw_markers(self, n: int) -> None:
        if not self._block[0] <= n < self._block[1]:
            self._block = (n, min(n + _BLOCK, len(self._likelihood)))
            self._dots = self._place_markers(*self._block)
        k = n - self._block[0]
        planes = zip(self._flat, self._dots, strict=True)
        for channel, (pixels, dots) in enumerate(planes):
            part = slice(dots.bounds[k], dots.bounds[k + 1])
            pixels[dots.places[part]] = self._yuv[dots.keypoints[part], channel]

    def _place_markers(self, first: int, stop: int) -> tuple[_Dots, _Dots, _Dots]:
        """Which pixels of each plane the markers of some frames cover."""
        index = self._index
        xy, drawn = self._xy[first:stop], self._is_drawn(slice(first, stop))
        frames, keypoints = np.nonzero(drawn)
        limit = (index.width - 1, index.height - 1)
        # Far outside of the frame nothing shows; the limits keep integers from overflowing.
        centers = np.minimum(np.clip(xy[drawn], -1e4, 1e5).astype(np.int64), limit)
        points = _to_coded(centers, self._wide)[:, None, :] + self._disk
        columns, rows = points[..., 0], points[..., 1]
        x, y = self._area
        inside = (rows >= y.start) & (rows < y.stop) & (columns >= x.start) & (columns < x.stop)
        if self._look.hollow.any():
            inside &= ~(self._look.hollow[keypoints][:, None] & self._inner)
        covers = np.broadcast_to(frames[:, None], inside.shape)[inside]
        keypoints = np.broadcast_to(keypoints[:, None], inside.shape)[inside]
        rows, columns = rows[inside], columns[inside]

        def dots(chosen: Any, shift: int, stride: int) -> _Dots:
            places = (rows[chosen] >> shift) * stride + (columns[chosen] >> shift)
            bounds = np.searchsorted(covers[chosen], np.arange(stop - first + 1))
            return _Dots(places, keypoints[chosen], bounds.tolist())

        # A chroma sample has the colour of the upper left of the pixels it stands for.
        shift = self._shift
        own = ((rows | columns) & shift) == 0
        strides = [plane.line_size for plane in self._canvas.planes]
        chroma = dots(own, shift, strides[1])
        return dots(slice(None), 0, strides[0]), chroma, chroma

    def _draw_text(self, n: int) -> None:
        """Time and frame number on a black box, written upright and turned as the frame is."""
        import cv2

        seconds = int(self._times_s[n])
        text = f"t={seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}, frame={n}"
        font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.5 * self._scale
        (text_width, text_height), _ = cv2.getTextSize(text, font, scale, 1)
        index, shift = self._index, self._shift
        start = _TEXT_PADDING // 2 - 1  # left and top
        # Both ends on even pixels, so that the box covers whole chroma samples.
        right = min((_TEXT_PADDING + text_width + start + 3) & ~1, index.width)
        bottom = min((_TEXT_PADDING + text_height + start + 3) & ~1, index.height)
        if min(right, bottom) < start + 2:  # a frame of a few pixels has no room for text
            return
        box = np.zeros((bottom - start, right - start), np.uint8)
        white = 219 if self._black else 255
        at = (_TEXT_PADDING - start, _TEXT_PADDING + text_height - start)
        cv2.putText(box, text, at, font, scale, white, 1, lineType=cv2.LINE_AA)
        corners = _to_coded(np.array([[start, start], [right - 1, bottom - 1]]), self._wide)
        (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0) + 1
        luma, *chroma = self._planes
        turned = np.rot90(box, index.rotation // 90)
        np.add(turned, self._black, out=luma[y0:y1, x0:x1])
        for plane in chroma:
            plane[y0 >> shift : (y1 + shift) >> shift, x0 >> shift : (x1 + shift) >> shift] = 128


@dataclass(frozen=True, slots=True)
class _Dots:
    """Pixels of one plane that the markers of a block of frames cover."""

    places: NDArray[np.int64]  # offsets into the plane's memory
    keypoints: NDArray[np.int64]  # number of the keypoint of each
    bounds: list[int]  # those of the block's frame `k` are `bounds[k]` to `bounds[k + 1]`


def _disk(radius: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Offsets (x, y) of the pixels that OpenCV's filled circle covers, (n, 2); and which of them a
    ring leaves out, (n,)."""
    import cv2

    size = 2 * radius + 1
    image = np.zeros((size, size), np.uint8)
    cv2.circle(image, (radius, radius), radius, 1, -1)
    rows, columns = np.nonzero(image)
    offsets = np.stack([columns - radius, rows - radius], axis=1)
    return offsets, np.hypot(*offsets.T) <= radius / 2


def _to_coded(points: NDArray[np.int64], index: VideoIndex) -> NDArray[np.int64]:
    """Pixels (x, y) of the frame as it is shown, to pixels of the frame as it is coded."""
    x, y = points[:, 0], points[:, 1]
    right, bottom = index.width - 1, index.height - 1
    turned = {0: (x, y), 90: (y, right - x), 180: (right - x, bottom - y), 270: (bottom - y, x)}
    return np.stack(turned[index.rotation], axis=1)


def _to_yuv(rgb: UInt8, colorspace: int, full: bool) -> UInt8:
    """Colours in the video's own YUV (ITU-R BT.601 or BT.709), (n, 3)."""
    kr, kb = (0.2126, 0.0722) if colorspace == _BT709 else (0.299, 0.114)
    r, g, b = rgb.astype(np.float64).T
    y = kr * r + (1 - kr - kb) * g + kb * b
    u, v = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
    if not full:
        y, u, v = y * 219 / 255 + 16, u * 224 / 255, v * 224 / 255
    yuv = np.stack([y, u + 128, v + 128], axis=1)
    return np.clip(np.round(yuv), 0, 255).astype(np.uint8)
