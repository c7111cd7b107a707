"""How keypoints look in a labelled video: colours, skeleton, trails, legend.

Colours follow from names: those of all models of a run, sorted, take the colours of a palette in
turn, so that a keypoint looks the same in every video and model. The palette begins with Okabe and
Ito's colours, which people with any colour blindness tell apart; then come white and those colours
of Paul Tol's schemes that stay furthest from all before them as such people see them, except for
those too dark for infrared recordings. When it is used up, markers become rings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypose.errors import TableError

UInt8 = NDArray[np.uint8]

PALETTE = (
    *("#E69F00", "#56B4E9", "#0072B2", "#D55E00", "#CC79A7", "#F0E442", "#009E73"),  # Okabe, Ito
    *("#FFFFFF", "#FFAABB", "#99DDFF", "#117733", "#999933"),  # white, and Paul Tol
)


@dataclass(frozen=True, slots=True)
class Look:
    """How the keypoints of one table are drawn.

    Attributes:
        names: of the keypoints, in the order of the table.
        colors: RGB, (K, 3) uint8.
        hollow: (K,) bool, whose markers are rings.
        bones: (n, 2), columns of the keypoints that a line joins.
        trail: number of frames before the present one whose positions are joined by a line.
        legend: whether names are shown beside the picture.
    """

    names: tuple[str, ...]
    colors: UInt8
    hollow: NDArray[np.bool_]
    bones: NDArray[np.int64]
    trail: int = 0
    legend: bool = False


@dataclass(frozen=True, slots=True)
class Style:
    """How the keypoints of all tables of a run are drawn.

    Attributes:
        names: keypoints that share the palette, sorted; none where a colormap decides.
        colormap: of matplotlib, spread over the keypoints of a table; empty for the palette.
        skeleton: pairs of keypoints that a line joins; those that a table lacks are left out.
        trail, legend: as in `Look`.
    """

    names: tuple[str, ...] = ()
    colormap: str = ""
    skeleton: tuple[tuple[str, str], ...] = ()
    trail: int = 0
    legend: bool = False

    def look(self, names: Sequence[str]) -> Look:
        """How a table of these keypoints is drawn.

        Raises:
            TableError: there is no such colormap.
        """
        place = {name: i for i, name in enumerate(names)}
        bones = [(place[a], place[b]) for a, b in self.skeleton if a in place and b in place]
        number = {name: i for i, name in enumerate(self.names)}
        numbers = [number.get(name, len(number) + i) for i, name in enumerate(names)]
        if self.colormap:
            colors, hollow = colormap_colors(len(names), self.colormap), [False] * len(names)
        else:
            colors = np.array([_rgb(PALETTE[i % len(PALETTE)]) for i in numbers], np.uint8)
            hollow = [i // len(PALETTE) % 2 == 1 for i in numbers]
        return Look(
            tuple(names),
            colors.reshape(-1, 3),
            np.array(hollow, bool),
            np.array(bones, np.int64).reshape(-1, 2),
            self.trail,
            self.legend,
        )

    def provenance(self, names: Sequence[str]) -> Mapping[str, Any]:
        """What decides how tables of these keypoints look, as plain values."""
        return _provenance(self, tuple(names))


@cache  # it is the same for all videos of a model
def _provenance(style: Style, names: tuple[str, ...]) -> Mapping[str, Any]:
    colors: Any = style.colormap
    if not colors:
        look = style.look(names)
        drawn = zip(look.names, look.colors.tolist(), look.hollow.tolist(), strict=True)
        colors = {name: [*color, "ring" if ring else "disk"] for name, color, ring in drawn}
    skeleton = [list(bone) for bone in style.skeleton if set(bone) <= set(names)]
    return {
        "colors": colors,
        "skeleton": skeleton,
        "trail": style.trail,
        "legend": style.legend,
    }


PLAIN = Style()
"""Markers in the palette's colours, and nothing else."""


def colormap_look(n_keypoints: int, colormap: str = "cool") -> Look:
    """Markers as Lightning Pose draws them, and nothing else."""
    return Style(colormap=colormap).look([str(i) for i in range(n_keypoints)])


def colormap_colors(n_keypoints: int, colormap: str) -> UInt8:
    """RGB colours, evenly spaced on a matplotlib colormap, (n_keypoints, 3)."""
    places = np.linspace(0, 1, n_keypoints)
    if colormap == "cool":
        # As matplotlib computes it (a table of 256 entries), without importing it.
        table = 255 * np.linspace(0, 1, 256) / 255
        level = table[np.minimum((places * 256).astype(int), 255)]
        rgb = np.stack([level, 1 - level, np.ones_like(level)], axis=1)
    else:
        from matplotlib import colormaps

        if colormap not in colormaps:
            hint = "Choose one of matplotlib's, for instance cool."
            raise TableError(f"there is no colormap named {colormap}", hint=hint)
        rgb = colormaps[colormap](places)[:, :3]
    colors: UInt8 = (rgb * 255).astype(np.uint8)
    return colors


def _rgb(color: str) -> tuple[int, int, int]:
    """`#E69F00` as red, green and blue."""
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue
