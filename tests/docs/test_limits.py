"""docs/limits.md names every bound of `raypose.limits`, with its value."""

from __future__ import annotations

import string
from typing import Any

from raypose import limits
from tests.markdown import ROOT

ROWS = {
    "pictures of a video": "{MAX_PICTURE_PIXELS} pixels (8192 × 4352), in any shape",
    "frames that an MP4 or MOV header claims": (
        "{MAX_CLAIMED_FRAMES}, or one per {MIN_FRAME_BYTES} of the file if that is more"
    ),
    "compressed header of an old MOV": "{MAX_HEADER_BYTES} unpacked",
    "side of a network's input": "{MAX_NETWORK_SIDE} pixels",
    "keypoints and views of a checkpoint": "{MAX_KEYPOINTS} and {MAX_VIEWS}",
    "size of a checkpoint, unpacked": (
        "{MAX_CHECKPOINT_GROWTH} times the file's size, plus {CHECKPOINT_SLACK_BYTES}"
    ),
    "a model's `config.yaml`": "{MAX_CONFIG_BYTES} and {MAX_CONFIG_VALUES} values",
    "references (`${…}`) in a model's config": (
        "{MAX_REFERENCE_DEPTH} levels; {MAX_RESOLVED_VALUES} values and "
        "{MAX_RESOLVED_CHARACTERS} characters once they are replaced"
    ),
    "settings (`--config`), skeletons, `ensemble.yaml`": (
        "{MAX_YAML_BYTES}, {MAX_YAML_VALUES} values, {MAX_YAML_DEPTH} levels"
    ),
    "a number in YAML": "{MAX_NUMBER_CHARACTERS} characters",
    "a list of recordings (`--sessions`)": "{MAX_SESSION_LIST_BYTES}",
    "a calibration": "{MAX_CALIBRATION_BYTES}",
    "a label on an image": "less than {MAX_LABEL_PIXELS} pixels from the corner",
    "a bounding box": "{MAX_BBOX_PIXELS} pixels from the corner, and as many high and wide",
    "a CSV table in UTF-16 or with old line ends": "{MAX_RECODED_BYTES}",
    "tracks in an HDF5 file of SLEAP": "{MAX_TRACK_BYTES} in memory",
    "a frame number in a CSV file of SLEAP": (
        "less than {MAX_FRAME_NUMBER}, plus {MAX_FRAMES_PER_ROW} per row"
    ),
    "number in the name of an image, in a table": "{MAX_IMAGE_DIGITS} digits",
    "name of an output with its record": (
        "what the file system allows; {MAX_NAME_BYTES} where it does not say"
    ),
    "path of the folder of an output": (
        "{MAX_PATH_BYTES}, with room for `/.raypose/ranges` and two names of {MAX_NAME_BYTES}"
    ),
    "key of an object, with its bucket": "{MAX_KEY_BYTES}",
    "a record beside an output": "{MAX_RECORD_BYTES}",
    "`run.json`": "{MAX_RUN_JSON_BYTES}",
}

BOUNDS = {name: value for name, value in vars(limits).items() if name.isupper()}


def shown(name: str, value: int) -> str:
    if name.endswith("_BYTES"):
        for unit, exponent in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
            if value % (1 << exponent) == 0:
                return f"{value >> exponent} {unit}"
        return f"{value:,} bytes"
    return f"{value:,}"


def test_the_page_has_every_bound() -> None:
    formatter, values = string.Formatter(), {n: shown(n, v) for n, v in BOUNDS.items()}
    named: set[Any] = {f for row in ROWS.values() for _, f, _, _ in formatter.parse(row) if f}
    assert named == set(BOUNDS)
    page = (ROOT / "docs" / "limits.md").read_text().partition("|---|---|---|\n")[2]
    table = [line.split(" | ") for line in page.partition("\n\n")[0].splitlines()]
    found = {cells[0].removeprefix("| "): cells[1] for cells in table}
    assert found == {row: text.format(**values) for row, text in ROWS.items()}
