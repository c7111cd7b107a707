"""The legend of a labelled video: a strip at the right of the picture, which hides none of it."""

from __future__ import annotations

import numpy as np

from raypose.rendering.style import Look, UInt8

_GROUND, _TEXT = (24, 24, 24), (235, 235, 235)
_LEAST_FONT, _MOST_FONT = 11, 28
_ROWS_OF_TEXT = 36
"""Lines of text that the height of a picture has room for, where its size allows."""
_LONGEST = 24


def draw_legend(look: Look, height: int) -> UInt8 | None:
    """The strip, (height, width, 3) RGB, with an even width; None where it has no room."""
    from PIL import Image, ImageDraw, ImageFont

    size = min(max(height // _ROWS_OF_TEXT, _LEAST_FONT), _MOST_FONT)
    spacing, margin = round(1.5 * size), size // 2
    n_rows = (height - 2 * margin) // spacing
    if n_rows < 1 or not look.names:
        return None
    font = ImageFont.load_default(size)
    names = [_shortened(name) for name in look.names]
    columns = [range(i, min(i + n_rows, len(names))) for i in range(0, len(names), n_rows)]
    text_at = margin + size + margin  # beside the mark
    widths = [text_at + max(round(font.getlength(names[k])) for k in c) for c in columns]
    width = (sum(widths) + margin + 1) // 2 * 2
    image = Image.new("RGB", (width, height), _GROUND)
    draw = ImageDraw.Draw(image)
    left = 0
    for column, column_width in zip(columns, widths, strict=True):
        for row, k in enumerate(column):
            middle = margin + row * spacing + spacing // 2
            x, radius = left + margin + size // 2, 0.42 * size
            box = (x - radius, middle - radius, x + radius, middle + radius)
            color = tuple(look.colors[k].tolist())
            if look.hollow[k]:
                draw.ellipse(box, outline=color, width=max(2, size // 6))
            else:
                draw.ellipse(box, fill=color)
            draw.text((left + text_at, middle), names[k], _TEXT, font, anchor="lm")
        left += column_width
    return np.array(image)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."
