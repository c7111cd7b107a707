"""The demo's contact sheet: moments of each video with their predictions, in one picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raypose import storage

_GAP, _TITLE, _FONT = 8, 24, 14
_GROUND, _TEXT = (24, 24, 24), (235, 235, 235)


def write_contact_sheet(
    videos: Sequence[Path], out_path: Path, *, side: int, n_moments: int = 4
) -> None:
    """Write a PNG with a row for each labelled video: frames spread over it, then its legend.

    Args:
        videos: labelled videos of square pictures, with or without a legend at their right.
        out_path: the PNG.
        side: of the pictures, in pixels.
        n_moments: frames of each video.

    Raises:
        VideoError: a video can't be read.
        OutputError: the file can't be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    rows = [(video, *_moments(video, n_moments)) for video in videos]
    strip = max(frames.shape[2] for _, _, frames in rows) - side
    width = _GAP + n_moments * (side + _GAP) + strip
    height = len(rows) * (_TITLE + side + _GAP)
    sheet = Image.new("RGB", (width, height), _GROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT)
    for row, (video, numbers, frames) in enumerate(rows):
        top = row * (_TITLE + side + _GAP)
        shown = ", ".join(map(str, numbers))
        title = f"{video.stem.removesuffix('_labeled')}: frames {shown}"
        draw.text((_GAP, top + _TITLE // 2), title, _TEXT, font, anchor="lm")
        for i, frame in enumerate(frames):
            picture = Image.fromarray(frame[:, :side])
            sheet.paste(picture, (_GAP + i * (side + _GAP), top + _TITLE))
        legend = Image.fromarray(frames[0][:, side:]) if strip else None
        if legend is not None:
            sheet.paste(legend, (_GAP + n_moments * (side + _GAP), top + _TITLE))
    content = io.BytesIO()
    sheet.save(content, "PNG")
    storage.store_of(out_path).write(out_path, content.getvalue())


def _moments(video: Path, n: int) -> tuple[list[int], Any]:
    """Numbers of frames that are spread over a video, and these frames, (n, H, W, 3) RGB."""
    from raypose.video.index import index_video
    from raypose.video.reader import FrameReader

    index = index_video(video)
    numbers = [int(i) for i in np.linspace(0, index.n_frames - 1, n + 2)[1:-1]]
    frames = []
    for number in numbers:
        with FrameReader(index, start=number, stop=number + 1) as reader:
            frames.append(next(iter(reader)).frames[0])
    return numbers, np.stack(frames)
