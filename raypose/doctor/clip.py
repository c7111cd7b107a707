"""A tiny video to try decoders and encoders on."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, HEIGHT, N_FRAMES, FPS = 256, 192, 24, 30  # NVENC takes nothing much smaller


def picture(i: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Frame `i` in gray, (HEIGHT, WIDTH): a slope with a bright square that moves."""
    gray = np.add.outer(np.arange(HEIGHT) // 3, np.arange(WIDTH) // 3).astype(np.uint8)
    gray[80:112, 8 * i : 8 * i + 32] = 230
    return gray


def write_clip(path: Path) -> Path:
    """Encode the clip with x264 on the CPU; returns `path`."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i in range(N_FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(i), format="gray")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
