"""Videos that ask for far more memory than they have bytes are refused before they get it."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from raypose.errors import VideoError
from raypose.limits import (
    MAX_CLAIMED_FRAMES,
    MAX_HEADER_BYTES,
    MAX_PICTURE_PIXELS,
    MIN_FRAME_BYTES,
)
from raypose.video.container import check_claims, check_size
from raypose.video.index import index_video
from tests.conftest import SHARED_CASES
from tests.videos import make_video

N_CLAIMED = 50_000_000

# What planning says of a video, and the most memory that it takes.
PLAN = """
import sys
from pathlib import Path
from raypose.inputs.probe import Unusable
from raypose.inputs.videos import FoundVideo, probe_videos

path = Path(sys.argv[1])
(found,) = probe_videos([FoundVideo(path)], ["key"])
print(found.error if isinstance(found, Unusable) else f"{found.width} x {found.height}")
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""


def plan(path: Path, tmp_path: Path) -> tuple[str, float]:
    """What planning says, and its peak memory in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", PLAN, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={"RAYPOSE_CACHE_DIR": str(tmp_path / "cache"), "HOME": str(tmp_path)},
    )
    says, peak_kib = done.stdout.splitlines()
    return says, int(peak_kib) / 1024


def patched(path: Path, out: Path, *places: tuple[bytes, int, int]) -> Path:
    """A copy with numbers of 32 bits replaced: (kind of box, offset inside, number)."""
    data = bytearray(path.read_bytes())
    for kind, offset, number in places:
        struct.pack_into(">I", data, data.index(kind) + 4 + offset, number)
    out.write_bytes(data)
    return out


def many_samples(path: Path, out: Path) -> Path:
    """An MP4 of one chunk with millions of samples of one byte."""
    return patched(
        path, out, (b"stsz", 4, 1), (b"stsz", 8, N_CLAIMED), (b"stsc", 12, N_CLAIMED),
        (b"stts", 8, N_CLAIMED),
    )  # fmt: skip


def fragmented(path: Path) -> Path:
    source = make_video(path.with_suffix(".source.mp4"))
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    with av.open(str(source)) as reading, av.open(str(path), "w", options=options) as writing:
        copy = writing.add_stream_from_template(reading.streams.video[0])
        for packet in reading.demux(video=0):
            if packet.size:
                packet.stream = copy
                writing.mux(packet)
    return path


def packed(path: Path, out: Path) -> Path:
    """A copy whose header is compressed, as QuickTime once did."""
    data = path.read_bytes()
    at = data.index(b"moov") - 4
    out.write_bytes(data[:at] + compressed_header(data[at:]))
    return out


def compressed_header(content: bytes) -> bytes:
    def box(kind: bytes, inside: bytes) -> bytes:
        return struct.pack(">I", len(inside) + 8) + kind + inside

    cmvd = box(b"cmvd", struct.pack(">I", len(content)) + zlib.compress(content))
    return box(b"moov", box(b"cmov", box(b"dcom", b"zlib") + cmvd))


linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")


@linux
@pytest.mark.parametrize("kind", ["table", "fragment", "packed", "edits"])
def test_headers_that_claim_millions_of_frames(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "absurd.mp4"
    if kind == "fragment":
        source = fragmented(tmp_path / "source.mp4")
        patched(source, out, (b"trun", 0, 0), (b"trun", 4, N_CLAIMED))
    elif kind == "edits":
        patched(make_video(tmp_path / "source.mp4"), out, (b"elst", 4, N_CLAIMED))
    elif kind == "packed":
        packed(many_samples(make_video(tmp_path / "source.mp4"), tmp_path / "many.mp4"), out)
    else:
        many_samples(make_video(tmp_path / "source.mp4"), out)
    says, peak_mib = plan(out, tmp_path)
    assert says.startswith(f"{out}: its header claims ") and "Copy, record or export" in says
    assert peak_mib < 500


@linux
@pytest.mark.parametrize("suffix", ["webm", "mpg", "ts", "mp4"])
def test_pictures_that_are_too_large(suffix: str, tmp_path: Path) -> None:
    codec = {"webm": "libvpx", "mp4": "libx264"}.get(suffix, "mpeg2video")
    path = make_video(tmp_path / f"video.{suffix}", codec=codec, gop=100)
    data = bytearray(path.read_bytes())
    if suffix == "webm":  # in the stream only; the header goes on to say 96 x 64
        at = data.index(b"\x9d\x01\x2a") + 3
        data[at : at + 4] = struct.pack("<HH", 16383, 16383)
    elif suffix == "mp4":  # in the header only
        at = data.index(b"avc1") + 28
        data[at : at + 4] = struct.pack(">HH", 16384, 16384)
    else:
        at = data.find(b"\x00\x00\x01\xb3")
        while at >= 0:
            data[at + 4 : at + 7] = b"\xff\xff\xff"
            extension = data.index(b"\x00\x00\x01\xb5", at)
            data[extension + 5] |= 0x01
            data[extension + 6] |= 0xE0
            at = data.find(b"\x00\x00\x01\xb3", at + 1)
    path.write_bytes(data)
    says, peak_mib = plan(path, tmp_path)
    assert peak_mib < 500
    if suffix == "mp4":  # the stream itself is right, and FFmpeg goes by it
        assert says == "96 x 64"
    else:
        assert f"{MAX_PICTURE_PIXELS:,} pixels" in says


@linux
@pytest.mark.parametrize("size", [(7680, 4320), (8192, 4352)])
def test_8k_is_read(size: tuple[int, int], tmp_path: Path) -> None:
    width, height = size
    with av.open(str(tmp_path / "8k.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        frame = av.VideoFrame(width, height, "yuvj420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    says, peak_mib = plan(tmp_path / "8k.avi", tmp_path)
    assert says == f"{width} x {height}"
    assert peak_mib < 1000


def test_a_size_above_the_bound() -> None:
    check_size(8192, 4352, "video.mp4")
    with pytest.raises(VideoError, match=r"8192 x 4354 .* Scale the video down"):
        check_size(8192, 4354, "video.mp4")


def test_uncompressed_sound_claims_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "sound.mov"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mjpeg", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuvj420p"
        sound = container.add_stream("pcm_u8", rate=48_000)
        frame = av.VideoFrame(96, 64, "yuvj420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(video.encode(frame))
        noise = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.uint8), "u8", "mono")
        for second in range(25):
            noise.sample_rate, noise.time_base = 48_000, Fraction(1, 48_000)
            noise.pts = 48_000 * second
            container.mux(sound.encode(noise))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    assert struct.pack(">II", 1, 25 * 48_000) in path.read_bytes()
    assert index_video(path).n_frames == 1


def test_a_compressed_header_that_is_right(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4")
    assert index_video(packed(whole, tmp_path / "packed.mov")).n_frames == 30


def test_fragments_that_are_right(tmp_path: Path) -> None:
    assert index_video(fragmented(tmp_path / "video.mp4")).n_frames == 30


@pytest.mark.parametrize("n_bytes", [0, 7, 8, 40, 600, 1500])
def test_any_beginning_of_a_file_is_looked_at(n_bytes: int, tmp_path: Path) -> None:
    data = fragmented(tmp_path / "video.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[:n_bytes])
    check_claims(str(tmp_path / "cut.mp4"))
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(n_bytes).bytes(n_bytes))
    check_claims(str(tmp_path / "noise.mp4"))


@linux
def test_105_kilobytes_that_ask_for_gigabytes(tmp_path: Path) -> None:
    path = SHARED_CASES / "absurd" / "105KB-needs-3.6GB.mp4"
    if not path.exists():
        pytest.skip("the shared cases are not on this machine")
    says, peak_mib = plan(path, tmp_path)
    assert "its header claims 50,000,000 frames" in says
    assert peak_mib < 500


@pytest.mark.parametrize("n_bytes", [0, MIN_FRAME_BYTES * (MAX_CLAIMED_FRAMES + 10)])
def test_the_most_frames_that_a_header_may_claim(n_bytes: int, tmp_path: Path) -> None:
    source, out = make_video(tmp_path / "source.mp4"), tmp_path / "out.mp4"
    most = max(MAX_CLAIMED_FRAMES, n_bytes // MIN_FRAME_BYTES)
    for n_claimed in (most, most + 1):
        patched(source, out, (b"stsz", 4, 1), (b"stsz", 8, n_claimed))
        if n_bytes:
            os.truncate(out, n_bytes)
        if n_claimed == most:
            check_claims(str(out))
        else:
            with pytest.raises(VideoError, match=rf"claims {n_claimed:,} frames, more than a"):
                check_claims(str(out))


def test_the_largest_compressed_header(tmp_path: Path) -> None:
    out = tmp_path / "out.mov"
    for n_bytes in (MAX_HEADER_BYTES - 1, MAX_HEADER_BYTES):
        out.write_bytes(compressed_header(bytes(n_bytes)))
        if n_bytes < MAX_HEADER_BYTES:
            check_claims(str(out))
        else:
            with pytest.raises(VideoError, match="its header claims"):
                check_claims(str(out))
