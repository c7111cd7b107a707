"""Opening: what a file says beside its pictures is no reason to refuse it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from raypose.rendering.labeled_video import draw_labeled_video
from raypose.rendering.snippet import cut_snippet
from raypose.video.index import index_video
from raypose.video.reader import FrameReader
from tests.conftest import SHARED_CASES
from tests.videos import make_video, read_with_opencv

MARK = b"MetadataOfTheMueller"
LATIN = "Aufnahme M\xfcller \xdf\xb5\xb0".encode("latin-1").ljust(len(MARK), b".")


def with_latin_metadata(path: Path) -> Path:
    """A copy of a video whose container and track have text that is no UTF-8."""
    made = make_video(path.with_name(f"utf8-{path.name}"), bframes=0)
    with av.open(str(made)) as source, av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for name in ("title", "comment", "artist"):
            target.metadata[name] = MARK.decode()
        for name in ("title", "handler_name", "language"):
            copy.metadata[name] = MARK.decode() if name != "language" else "eng"
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copy
                target.mux(packet)
    data = path.read_bytes()
    assert data.count(MARK) >= 2
    path.write_bytes(data.replace(MARK, LATIN))
    with pytest.raises(UnicodeDecodeError):
        av.open(str(path))
    return path


def check(video: Path, tmp_path: Path) -> None:
    """Indexed, read, labelled and cut like any other."""
    index = index_video(video)
    expected = read_with_opencv(video)
    with FrameReader(index) as reader:
        np.testing.assert_array_equal(np.concatenate([batch.frames for batch in reader]), expected)
    n = index.n_frames
    draw_labeled_video(
        index, np.zeros((n, 1, 2)), np.ones((n, 1)), tmp_path / "labeled.mp4", threshold=0.5
    )
    for start, stop in ((0, n), (3, 9)):
        assert cut_snippet(index, start, stop, tmp_path / f"cut{start}.mp4") == stop - start
    counts = [
        len(read_with_opencv(tmp_path / f"{made}.mp4")) for made in ("labeled", "cut0", "cut3")
    ]
    assert counts == [n, n, 6]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi"])
def test_text_that_is_no_utf8(suffix: str, tmp_path: Path) -> None:
    check(with_latin_metadata(tmp_path / f"video.{suffix}"), tmp_path)


def test_a_recording_with_latin1_metadata(tmp_path: Path) -> None:
    path = SHARED_CASES / "metadata" / "latin.mp4"
    if not path.exists():
        pytest.skip("the shared cases are not on this machine")
    check(path, tmp_path)
