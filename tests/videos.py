"""Videos for tests: small files, encoded on the spot, of every kind that raypose has to read.

`make_video` writes one; every frame carries its number as a row of black and white blocks,
so that a test can tell which frame it was given (`read_number`), whatever the codec did to it.
The functions below it damage or edit a file on the byte level, as a crash, a bad disk or an
editing program would.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.frame import PictureType

from raypose.video.index import SAMPLE_BYTES, sample_places

N_BITS = 16
_MIN_WIDTH = 4 * N_BITS

Picture = Callable[[int, int, int], np.ndarray]


def numbered_picture(i: int, width: int, height: int) -> np.ndarray:
    """Frame `i`, (height, width, 3) RGB: a textured ground, a moving square, and the number.

    The number is a row of 16 blocks along the top, the highest bit first. Frames narrower than
    64 pixels carry no number.
    """
    rows = np.arange(height)[:, None]
    columns = np.arange(width)[None, :]
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = (columns * 2 + i) % 200 + 30
    image[..., 1] = (rows * 3 + 2 * i) % 180 + 40
    image[..., 2] = (columns + rows) % 160 + 60
    x, y = (5 * i) % max(1, width - 12), height // 2
    image[y : y + 10, x : x + 12] = (250, 220, 20)
    if width >= _MIN_WIDTH:
        block = width // N_BITS
        for bit in range(N_BITS):
            on = (i >> (N_BITS - 1 - bit)) & 1
            image[: _bar(height), bit * block : (bit + 1) * block] = 235 if on else 20
    return image


def read_number(image: np.ndarray) -> int:
    """The number in the blocks of a decoded frame (H, W, 3)."""
    height, width = image.shape[:2]
    block, bar = width // N_BITS, _bar(height)
    number = 0
    for bit in range(N_BITS):
        patch = image[bar // 4 : 3 * bar // 4, bit * block + 1 : (bit + 1) * block - 1]
        number = 2 * number + int(patch.mean() > 128)
    return number


def _bar(height: int) -> int:
    return max(4, height // 6)


def make_video(
    path: str | Path,
    *,
    n_frames: int = 30,
    width: int = 96,
    height: int = 64,
    fps: int | Fraction = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    gop: int = 10,
    bframes: int = 0,
    open_gop: bool = False,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    rotation: int = 0,
    color_range: int = 0,
    colorspace: int = 2,
    audio: bool = False,
    second_video: bool = False,
    quality: int = 18,
    options: dict[str, str] | None = None,
    picture: Picture = numbered_picture,
    n_without_bframes: int = 0,
) -> Path:
    """Encode a video; the container follows the file's suffix.

    Args:
        path: file to write.
        n_frames: frames to encode.
        width: columns of the coded frame, before any rotation.
        height: rows of the coded frame, before any rotation.
        fps: frame rate, in frames per second; with `pts`, only what the header says.
        codec: name of FFmpeg's encoder.
        pix_fmt: pixel format that is encoded.
        gop: frames from one keyframe to the next.
        bframes: B-frames between two others (libx264 and libx265: always that many).
        open_gop: let B-frames before a keyframe refer to what comes before it.
        pts: timestamps of the frames in units of `time_base`; None for a constant rate.
        time_base: seconds a tick; None for one tick a frame.
        rotation: degrees counter-clockwise that a player turns the frame by.
        color_range: 0 unspecified, 1 limited, 2 full.
        colorspace: AVCOL_SPC number; 1 is BT.709, 2 unspecified, 6 BT.601.
        audio: add a track of silence, before the video.
        second_video: add a second, different video track after the first.
        quality: CRF of libx264 and libx265.
        options: further options of the encoder.
        picture: frame number, width, height -> RGB picture.
        n_without_bframes: frames at the beginning among which there is no B-frame.

    Returns:
        The path.
    """
    path = Path(path)
    base = time_base or Fraction(1, 1) / Fraction(fps)
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=8000) if audio else None
        streams = [
            _add_stream(
                container, codec, fps, width, height, pix_fmt, gop, bframes, open_gop, quality,
                base, options or {},
            )
            for _ in range(2 if second_video else 1)
        ]  # fmt: skip
        for stream in streams:
            if color_range:
                stream.codec_context.color_range = color_range
            stream.codec_context.colorspace = colorspace
        if rotation:
            streams[0].set_display_rotation(rotation)
        for i in range(n_frames):
            for k, stream in enumerate(streams):
                rgb = picture(i, width, height) if k == 0 else np.full((height, width, 3), 90)
                frame = av.VideoFrame.from_ndarray(rgb.astype(np.uint8), format="rgb24")
                frame = frame.reformat(
                    format=pix_fmt,
                    dst_color_range=color_range or None,
                    dst_colorspace=colorspace if colorspace == 1 else None,
                )
                frame.colorspace = colorspace
                frame.pts = i if pts is None else int(pts[i])
                frame.time_base = base
                if i < n_without_bframes:
                    frame.pict_type = PictureType.P if i else PictureType.I
                container.mux(stream.encode(frame))
            if sound is not None and i % 4 == 0:
                container.mux(sound.encode(_silence(i // 4, sound)))
        for stream in [*streams, *([sound] if sound is not None else [])]:
            container.mux(stream.encode(None))
    return path


def make_sound(path: Path, *, cover: bool = False) -> Path:
    """A file of silence in a container of videos.

    Args:
        path: file to write; the container follows its suffix.
        cover: with a picture, as music has it.
    """
    codec = {".webm": "libopus", ".wmv": "wmav2"}.get(path.suffix, "aac")
    rate = 48000
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.bit_rate = 64_000
        picture = None
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
            picture.disposition = Disposition.attached_pic
        for i in range(8):
            samples = np.zeros((1, 960 if codec == "libopus" else 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            frame.sample_rate, frame.pts = rate, i * samples.shape[1]
            frame.time_base = Fraction(1, rate)
            if codec == "libopus":
                frame = av.AudioResampler("flt", "mono", rate).resample(frame)[0]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if picture is not None:
            image = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(picture.encode(image.reformat(format="yuvj420p")))
            container.mux(picture.encode(None))
    return path


def repeat_packets(path: Path, segment: Path, n_frames: int) -> Path:
    """A video of any length in no time: the packets of a short one over and over.

    Args:
        path: file to write.
        segment: a video without B-frames that begins with a keyframe.
        n_frames: frames to write.
    """
    with av.open(str(segment)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [(bytes(p), p.is_keyframe) for p in source.demux(stream) if p.size]
        for i in range(n_frames):
            data, is_keyframe = packets[i % len(packets)]
            packet = av.Packet(data)
            packet.pts = packet.dts = i
            packet.duration = 1  # older FFmpeg writes an edit list without the last frame else
            packet.time_base = Fraction(1, 25)
            packet.is_keyframe = is_keyframe
            packet.stream = copy
            target.mux(packet)
    return path


def retime(
    source: Path,
    out: Path,
    pts: Sequence[int],
    dts: Sequence[int] | None = None,
    *,
    time_base: Fraction = Fraction(1, 1000),
) -> Path:
    """A copy whose packets, in file order, have times made by hand.

    Muxers demand that decoding times ascend and lie before the others.
    """
    with av.open(str(source)) as reading, av.open(str(out), "w") as writing:
        stream = reading.streams.video[0]
        copy = writing.add_stream_from_template(stream)
        packets = [packet for packet in reading.demux(stream) if packet.size]
        for packet, shown, decoded in zip(packets, pts, dts or pts, strict=True):
            packet.pts, packet.dts, packet.time_base = int(shown), int(decoded), time_base
            packet.stream = copy
            writing.mux(packet)
    return out


def packet_order(path: Path) -> list[int]:
    """For each packet, in file order, the number of its frame by presentation time."""
    with av.open(str(path)) as container:
        pts = [packet.pts for packet in container.demux(video=0) if packet.size]
    return np.argsort(np.argsort(pts)).tolist()


def read_with_opencv(path: Path) -> np.ndarray:
    """All frames in the order in which OpenCV hands them out, RGB, (N, H, W, 3)."""
    import cv2

    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        ok, frame = capture.read()
        if not ok:
            return np.array(frames)[..., ::-1]
        frames.append(frame)


def _add_stream(
    container: Any, codec: str, fps: int | Fraction, width: int, height: int, pix_fmt: str,
    gop: int, bframes: int, open_gop: bool, quality: int, base: Fraction,
    options: dict[str, str],
) -> Any:  # fmt: skip
    known = {}
    if codec == "libx264":
        known = {
            "crf": str(quality),
            "preset": "veryfast",
            "sc_threshold": "0",
            "b_strategy": "0",
            "x264-params": f"open-gop={int(open_gop)}:keyint={gop}:min-keyint={gop}",
        }
    elif codec == "libx265":
        known = {
            "crf": str(quality),
            "preset": "ultrafast",
            "x265-params": f"open-gop={int(open_gop)}:keyint={gop}:min-keyint={gop}:scenecut=0"
            f":bframes={bframes}:b-adapt=0:log-level=none",
        }
    elif codec == "libsvtav1":
        known = {"preset": "12", "crf": "20", "svtav1-params": f"keyint={gop}"}
    elif codec in ("mpeg4", "mjpeg"):
        known = {"q:v": "3", "flags": "+qscale", "global_quality": str(3 * 118)}
    stream = container.add_stream(codec, rate=Fraction(fps), options={**known, **options})
    stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
    stream.codec_context.time_base = base
    stream.codec_context.gop_size = gop
    if codec not in ("mjpeg", "libsvtav1", "libx265"):
        stream.codec_context.max_b_frames = bframes
    return stream


def _silence(i: int, stream: Any) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
    frame.sample_rate, frame.pts, frame.time_base = 8000, 1024 * i, Fraction(1, 8000)
    return frame


def truncate(path: Path, out: Path, keep: float) -> Path:
    """A copy that ends after the share `keep` of its bytes, as after a crash."""
    data = path.read_bytes()
    out.write_bytes(data[: int(len(data) * keep)])
    return out


def flip_bytes(path: Path, out: Path, *, start: float, stop: float, every: int = 7) -> Path:
    """A copy whose bytes between two shares of its length are inverted, one in `every`."""
    data = bytearray(path.read_bytes())
    for i in range(int(len(data) * start), int(len(data) * stop), every):
        data[i] ^= 0xFF
    out.write_bytes(bytes(data))
    return out


def damage_packets(path: Path, out: Path, packets: Sequence[int]) -> Path:
    """A copy in which the payload of some video packets, in file order, is overwritten."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for k in packets:
        position, size = places[k]
        assert position is not None
        data[position : position + size] = b"\xff" * size
    out.write_bytes(bytes(data))
    return out


def large_video(path: Path, *, n_frames: int = 20) -> Path:
    """A video of noise, large enough for most of its bytes to be in no sample: 1 MB per frame."""
    random = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width = stream.height = 1024
        stream.pix_fmt = "yuvj420p"
        stream.options = {"q:v": "1", "qmin": "1", "qmax": "1"}
        for _ in range(n_frames):
            pixels = random.integers(0, 256, (1024, 1024, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    return path


def damage_unsampled(path: Path, out: Path) -> Path:
    """A copy of equal size and times in which one frame can't be decoded, without a trace in
    the samples that the fingerprint of a video is taken of."""
    with av.open(str(path)) as container:
        starts = [packet.pos for packet in container.demux(video=0) if packet.size]
    sampled = sample_places(path.stat().st_size)
    head = 1 << 10
    start = next(
        start
        for start in starts[1:]
        if all(start + head <= place or start >= place + SAMPLE_BYTES for place in sampled)
    )
    shutil.copy2(path, out)
    times = path.stat()
    with out.open("r+b") as file:
        file.seek(start)
        file.write(b"\0" * head)
    os.utime(out, ns=(times.st_atime_ns, times.st_mtime_ns))
    return out


def edit_list(path: Path, out: Path, *, skip_frames: int) -> Path:
    """A copy of an MP4 whose edit list starts `skip_frames` frames later.

    An editing program cuts the beginning off in this way, without encoding again: the packets
    before stay in the file because later ones need them, but no player shows them.
    """
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate is not None and stream.time_base is not None
        ticks = int(skip_frames / stream.average_rate / stream.time_base)
        movie_ticks = int(skip_frames * 1000 / stream.average_rate)
    data = bytearray(path.read_bytes())
    at = data.index(b"elst")
    version = data[at + 4]
    assert version == 0, "the factory writes short edit lists"
    duration, media_time = struct.unpack_from(">Ii", data, at + 12)
    struct.pack_into(">Ii", data, at + 12, duration - movie_ticks, media_time + ticks)
    out.write_bytes(bytes(data))
    return out


def cut_packets(path: Path, out: Path, packets: Sequence[int]) -> Path:
    """A copy in which the second half of some video packets, in file order, is overwritten."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for k in packets:
        position, size = places[k]
        assert position is not None
        half = size // 2
        data[position + half : position + size] = b"\xff" * (size - half)
    out.write_bytes(bytes(data))
    return out


def without_packets(path: Path, out: Path, packets: Sequence[int]) -> Path:
    """A copy that lacks some video packets, in file order."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for k, packet in enumerate(source.demux(stream)):
            if packet.size and k not in packets:
                packet.stream = copy
                target.mux(packet)
    return out
