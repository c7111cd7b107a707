"""How large inputs may be: the bounds beyond which one is refused.

They keep a damaged or hostile file from taking a machine's memory or hours of its time, and are
far above what real work needs. docs/limits.md lists them, with what happens beyond each. The
ranges of settings are with the settings.
"""

from __future__ import annotations

# Videos.
MAX_PICTURE_PIXELS = 8192 * 4352
"""Pixels of a picture: the most that any level of H.264 has, and more than 8K (7680 × 4320). A
decoder keeps up to 16 pictures, of 1.5 bytes per pixel as most videos are coded, besides those
that its threads work on."""
MAX_CLAIMED_FRAMES = 1_000_000
"""Frames that the header of an MP4 may claim however small the file is. FFmpeg takes 72 bytes for
each."""
MIN_FRAME_BYTES = 32
"""Bytes per frame of a file whose header claims more frames. Of a recording that was cut short,
much less than a tenth may be left."""
MAX_HEADER_BYTES = 64 << 20
"""What a compressed header of QuickTime may unpack to."""

# Models.
MAX_NETWORK_SIDE = 4096
"""Pixels along a side of a network's input."""
MAX_KEYPOINTS = 10_000
"""Keypoints that a checkpoint may name in its hyperparameters."""
MAX_VIEWS = 100
"""Camera views that a checkpoint may name in its hyperparameters."""
MAX_CHECKPOINT_GROWTH = 4
"""How many times its size a checkpoint may unpack to. torch does not compress what it saves."""
CHECKPOINT_SLACK_BYTES = 1 << 20
"""How much more it may unpack to, for small ones."""
MAX_CONFIG_BYTES = 1 << 20
"""Of a model's `config.yaml`."""
MAX_CONFIG_VALUES = 100_000
"""Values in a model's config, with all aliases unfolded."""
MAX_RESOLVED_VALUES = 200_000
"""Values in a model's config once its references (`${a.b}`) are replaced."""
MAX_RESOLVED_CHARACTERS = 4 << 20
"""Characters of text in a model's config once its references are replaced."""
MAX_REFERENCE_DEPTH = 100
"""Levels of nesting plus references to references."""

# Settings and other YAML.
MAX_YAML_BYTES = 4 << 20
MAX_YAML_VALUES = 500_000
"""Values in a YAML file, with all aliases unfolded."""
MAX_YAML_DEPTH = 64
"""Levels of nesting."""
MAX_NUMBER_CHARACTERS = 64
"""Of a number in YAML, for which Python takes quadratic time."""

# Tables and lists.
MAX_SESSION_LIST_BYTES = 16 << 20
"""Of the CSV that `--sessions` names."""
MAX_RECODED_BYTES = 2 << 30
"""Of a CSV table in UTF-16 or with the line ends of old Macs, which is recoded in memory."""
MAX_TRACK_BYTES = 16 << 30
"""What the tracks of a SLEAP file may take in memory."""
MAX_FRAME_NUMBER = 1_000_000
"""The highest frame number in a SLEAP table of few rows; one far beyond the number of rows is a
damaged one."""
MAX_FRAMES_PER_ROW = 1000
"""By how much each row of a SLEAP table raises that."""
MAX_IMAGE_DIGITS = 15
"""Of the number in the name of an image, by which a table may name its rows."""
MAX_BBOX_PIXELS = 1_000_000
"""Of a bounding box: its distance from the frame's corner, its height and its width."""
MAX_LABEL_PIXELS = 1_000_000
"""How far a label may be from the image's corner."""
MAX_CALIBRATION_BYTES = 256 << 10

# Outputs and what raypose writes beside them.
MAX_NAME_BYTES = 255
"""Of a file's name, where the file system does not tell."""
MAX_PATH_BYTES = 4095
"""Of a path on Linux."""
MAX_KEY_BYTES = 1024
"""Of the key of an object in a store."""
MAX_RECORD_BYTES = 16 << 20
MAX_RUN_JSON_BYTES = 256 << 20
"""Of the description of a run, which lists all its videos and outputs."""
