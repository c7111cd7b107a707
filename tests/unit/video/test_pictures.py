"""The order of presentation from the headers of pictures is the order of the right times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypose.video.pictures import coded_order
from tests.videos import make_video, packet_order

KINDS: dict[str, dict[str, Any]] = {
    "h264.mp4": {"bframes": 2},
    "h264.ts": {"bframes": 3},
    "h264.avi": {"bframes": 2},
    "pyramid.mkv": {"bframes": 5, "gop": 100, "options": {"b-pyramid": "normal"}},
    # Longer than its counts' lower bits reach.
    "long.mp4": {"bframes": 2, "gop": 1000, "n_frames": 700, "width": 64, "height": 32},
    "open.mkv": {"bframes": 2, "open_gop": True, "gop": 7},
    "interlaced.mp4": {"bframes": 2, "options": {"x264-params": "tff=1"}},
    "444.mp4": {"bframes": 2, "pix_fmt": "yuv444p"},
    "baseline.mp4": {"options": {"profile": "baseline"}},
    "hevc.mp4": {"codec": "libx265", "bframes": 3},
    "hevc.ts": {"codec": "libx265", "bframes": 3, "open_gop": True, "gop": 8},
    "hevc10.mkv": {"codec": "libx265", "bframes": 4, "pix_fmt": "yuv420p10le", "gop": 100},
    "hevc-cropped.mp4": {"codec": "libx265", "bframes": 2, "width": 98, "height": 66},
    "mpeg4.mp4": {"codec": "mpeg4", "bframes": 2},
    "mpeg2.mpg": {"codec": "mpeg2video", "bframes": 2},
    "mpeg1.mpg": {"codec": "mpeg1video", "bframes": 2},
}


@pytest.mark.parametrize("name", KINDS)
def test_it_is_the_order_of_the_times(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    video = make_video(tmp_path / name, **kind)
    order = coded_order(str(video))
    assert order is not None
    if video.suffix == ".avi":  # which has no times of presentation
        video = make_video(tmp_path / "same.mp4", **kind)
    assert order.tolist() == packet_order(video)
    assert kind.get("bframes", 0) == 0 or order.tolist() != sorted(order)


def test_other_codecs_have_no_such_headers(tmp_path: Path) -> None:
    assert coded_order(str(make_video(tmp_path / "v.webm", codec="libvpx-vp9"))) is None


def test_what_is_damaged_is_no_reason_to_fail(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.ts", bframes=2, fps=Fraction(25)).read_bytes()

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(st.lists(st.tuples(st.integers(600, len(whole) - 1), st.integers(0, 255))))
    def read(changes: list[tuple[int, int]]) -> None:
        data = bytearray(whole)
        for at, byte in changes:
            data[at] = byte
        (tmp_path / "damaged.ts").write_bytes(data)
        order = coded_order(str(tmp_path / "damaged.ts"))
        assert order is None or np.array_equal(np.sort(order), np.arange(len(order)))

    read()
