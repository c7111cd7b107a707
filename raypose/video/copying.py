"""A video into another file as it is coded: nothing is decoded, and nothing encoded again."""

from __future__ import annotations

import os

from raypose.video.container import demux, open_video, video_stream
from raypose.video.index import VideoIndex
from raypose.video.mp4 import count_shown, mp4_options


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
    if not plain or index.notes or not index.seekable or int(index.pts[0]) != 0:
        return False
    with open_video(index.path) as source:
        stream = video_stream(source, index.path)
        with av.open(
            "file:" + os.path.abspath(out_path),
            "w",
            format="mp4",
            options=mp4_options(stream.time_base),
        ) as target:
            copy = target.add_stream_from_template(stream)
            for packet in demux(source, stream):
                if packet.dts is None:  # the empty packet at the end
                    continue
                packet.stream = copy
                target.mux(packet)
    return count_shown(out_path) == index.n_frames
