"""A video into another file as it is coded: nothing is decoded, and nothing encoded again."""

from __future__ import annotations

import os

from raypose.video.container import demux, open_video, video_stream
from raypose.video.index import VideoIndex


def copy_plain(index: VideoIndex, out_path: str | os.PathLike[str]) -> bool:
    """Copy the frames of a plain H.264 video into an MP4.

    Plain is what every player shows alike: 4:2:0, not turned, from time 0 on, all packets shown.

    Args:
        index: the video.
        out_path: the MP4 to write.

    Returns:
        False where the video is not plain; what was written then must be written over.

    Raises:
        VideoError: the video can't be read.
    """
    import av

    plain = index.codec == "h264" and index.pix_fmt == "yuv420p" and index.rotation == 0
    if not plain or index.problems or not index.seekable or int(index.pts[0]) != 0:
        return False
    n_packets = 0
    with open_video(index.path) as source:
        stream = video_stream(source, index.path)
        with av.open(os.fspath(out_path), "w", format="mp4") as target:
            copy = target.add_stream_from_template(stream)
            for packet in demux(source, stream):
                if packet.dts is None:  # the empty packet at the end
                    continue
                packet.stream = copy
                target.mux(packet)
                n_packets += 1
    return n_packets == index.n_frames
