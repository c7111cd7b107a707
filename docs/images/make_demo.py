"""Makes docs/images/demo.webp, README's moving picture, from what `raypose demo` has made.

`python docs/images/make_demo.py raypose-demo` runs both of the demo's models on its videos with
the command that the picture shows, and draws that command, what it printed, the labelled frames,
and curves of two keypoints. Nothing in the picture is made up; only the waiting is left out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from raypose.demo.figure import SIZE
from raypose.demo.project import Project
from raypose.tables.keypoints import read_csv

PICTURE = Path(__file__).with_name("demo.webp")
OPTIONS = (
    *("run", "videos/", "-m", "models/seed-0", "-m", "models/seed-1"),
    *("--eks", "--label", "full", "-o", "out"),
)
VIDEO = "mouse_1"
KEYPOINTS = ("nose", "tail_tip")
LINES = (("eks", "#d5d8dc", 3), ("seed-0", "#56b4e9", 1), ("seed-1", "#e69f00", 1))
"""Whose curves, from the lowest to the highest: folder of the outputs, colour, width in pixels."""

WIDTH, TERMINAL, GAP = 640, 134, 8
GROUND, BOX, TEXT, FAINT = "#15171a", "#1e2126", "#e6e6e6", "#8b949e"
N_COLUMNS, ROW = 93, 14
"""Characters in a line of the terminal, and height of a line in pixels."""

FRAME_S, EVERY = 0.08, 2
"""Each second frame of a video of 25 frames per second, so that it plays at its own speed."""

N_TYPING, N_LISTING, N_HELD = 12, 9, 2
"""Frames in which the command is typed, its output appears, and the end stays."""

SCALE = 2  # curves are drawn larger and made smaller, for smooth lines


@dataclass(frozen=True)
class Run:
    """A run of the command, as the picture shows it.

    Attributes:
        command: what is typed, in lines.
        printed: what the command printed, cut to the width of the terminal.
        frames: of the video: RGB, (n, H, W, 3), without and with labels; the labelled ones are
            wider by their legend.
        curves: horizontal positions in pixels, by keypoint and owner.
    """

    command: tuple[str, ...]
    printed: tuple[str, ...]
    frames: tuple[np.ndarray, np.ndarray]
    curves: dict[str, dict[str, np.ndarray]]


def run(project: Project) -> Run:
    """Run the command in an empty directory, beside links to the demo's videos and models."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        for name in ("videos", "models"):
            (here / name).symlink_to(project.directory / name)
        ran = subprocess.run(
            [sys.executable, "-m", "raypose", *OPTIONS],
            cwd=here,
            capture_output=True,
            text=True,
        )
        if ran.returncode:
            sys.exit(ran.stdout + ran.stderr)
        tables = {
            owner: read_csv(here / "out" / owner / "video_preds" / f"{VIDEO}.csv")
            for owner, _, _ in LINES
        }
        labelled = here / "out" / "eks" / "video_preds" / "labeled_videos" / f"{VIDEO}_labeled.mp4"
        curves = {
            keypoint: {
                owner: table.xy[:, table.keypoint_names.index(keypoint), 0]
                for owner, table in tables.items()
            }
            for keypoint in KEYPOINTS
        }
        frames = read(here / "videos" / f"{VIDEO}.mp4"), read(labelled)
    at = OPTIONS.index("--eks")
    command = (f"$ raypose {' '.join(OPTIONS[:at])} \\", f"      {' '.join(OPTIONS[at:])}")
    return Run(command, tuple(without_details(ran.stdout)), frames, curves)


def without_details(printed: str) -> Iterator[str]:
    """Its lines without the table of files, which is too long, and without a line per minute."""
    for line in printed.splitlines():
        if line.strip() and not line.startswith((" ", "after ")):
            yield line if len(line) <= N_COLUMNS else line[: N_COLUMNS - 1] + "…"


def read(video: Path) -> np.ndarray:
    with av.open(str(video)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def draw(shown: Run) -> list[Image.Image]:
    """The frames of the picture."""
    raw, labelled = shown.frames
    n_characters = sum(map(len, shown.command))
    found = []
    for i in range(N_TYPING):
        typed = round(n_characters * (i + 1) / N_TYPING)
        found.append(draw_frame(shown, raw[0], 0, n_typed=typed, n_printed=0))
    for i in range(N_LISTING):
        n_printed = round(len(shown.printed) * (i + 1) / N_LISTING)
        found.append(draw_frame(shown, raw[0], 0, n_typed=n_characters, n_printed=n_printed))
    whole: dict[str, Any] = {"n_typed": n_characters, "n_printed": len(shown.printed)}
    found += [
        draw_frame(shown, labelled[i], i + 1, **whole) for i in range(0, len(labelled), EVERY)
    ]
    return found + found[-1:] * N_HELD


def draw_frame(
    shown: Run, frame: np.ndarray, n_frames: int, *, n_typed: int, n_printed: int
) -> Image.Image:
    """One frame of the picture: the terminal above, frame and curves below."""
    picture = Image.new("RGB", (WIDTH, GAP + TERMINAL + GAP + SIZE + GAP), GROUND)
    pen = ImageDraw.Draw(picture)
    pen.rounded_rectangle((GAP, GAP, WIDTH - GAP, GAP + TERMINAL), 4, BOX)
    first, second = shown.command
    typed = (first[:n_typed], second[: max(0, n_typed - len(first))])
    lines = [(line, TEXT) for line in typed] + [(s, FAINT) for s in shown.printed[:n_printed]]
    for i, (line, colour) in enumerate(lines):
        pen.text((2 * GAP, GAP + 5 + i * ROW), line, colour, font(11, mono=True))
    top = GAP + TERMINAL + GAP
    picture.paste(Image.fromarray(frame), (GAP, top))
    left = GAP + shown.frames[1].shape[2] + GAP
    height = (SIZE - GAP) // len(KEYPOINTS)
    for i, keypoint in enumerate(KEYPOINTS):
        panel = draw_curves(shown, keypoint, n_frames, (WIDTH - GAP - left, height))
        picture.paste(panel, (left, top + i * (height + GAP)))
    return picture


def draw_curves(shown: Run, keypoint: str, n_frames: int, size: tuple[int, int]) -> Image.Image:
    """The curves of a keypoint up to a frame, in a box of this size."""
    width, height = size
    panel = Image.new("RGB", (SCALE * width, SCALE * height), BOX)
    pen = ImageDraw.Draw(panel)
    of_owner = shown.curves[keypoint]
    values = np.stack(list(of_owner.values()))
    low, high = values.min(), values.max()
    title, foot = 24, 6
    for owner, colour, thickness in LINES:
        curve = of_owner[owner]
        x = GAP + np.arange(len(curve)) / (len(curve) - 1) * (width - 2 * GAP)
        y = height - foot - (curve - low) / (high - low) * (height - title - foot)
        points = [(SCALE * float(a), SCALE * float(b)) for a, b in zip(x, y, strict=True)]
        if n_frames > 1:
            pen.line(points[:n_frames], colour, SCALE * thickness, joint="curve")
    panel = panel.resize(size, Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(panel)
    pen.text((GAP, 5), f"{keypoint}, x in pixels", TEXT, font(11))
    right = width - GAP
    for owner, colour, _ in reversed(LINES):
        pen.text((right, 5), owner, colour, font(11), anchor="ra")
        right -= round(pen.textlength(owner, font(11))) + GAP
    return panel


def font(size: int, *, mono: bool = False) -> ImageFont.FreeTypeFont:
    import matplotlib

    name = "DejaVuSansMono" if mono else "DejaVuSans"
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{name}.ttf", size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="the directory of a finished `raypose demo`")
    project = Project(parser.parse_args().demo.resolve())
    first, *others = draw(run(project))
    first.save(
        PICTURE,
        save_all=True,
        append_images=others,
        duration=round(1000 * FRAME_S),
        loop=0,
        quality=70,
        method=4,
    )
    size = PICTURE.stat().st_size / 1e6
    print(f"{PICTURE}: {1 + len(others)} frames, {first.width}x{first.height}, {size:.2f} MB")


if __name__ == "__main__":
    main()
