"""Calibrations of Anipose as text, with any value of the last camera replaced."""

from __future__ import annotations

from collections.abc import Sequence

FIELDS = {
    "size": "[396, 406]",
    "matrix": "[[100.0, 0.0, 50.0], [0.0, 100.0, 50.0], [0.0, 0.0, 1.0]]",
    "distortions": "[0.0, 0.0, 0.0, 0.0, 0.0]",
    "rotation": "[0.0, 0.0, 0.0]",
    "translation": "[0.0, 0.0, 0.0]",
}


def calibration_text(views: Sequence[str] = ("top", "side"), **last: str | None) -> str:
    """A `calibration.toml` of cameras side by side; None leaves a field of the last one out."""
    lines = []
    for i, view in enumerate(views):
        fields = {"name": f'"{view}"', **FIELDS, "translation": f"[{i}.0, 0.0, 0.0]"}
        if i == len(views) - 1:
            fields |= last  # type: ignore[arg-type]
        lines += [f"[cam_{i}]", *(f"{k} = {v}" for k, v in fields.items() if v is not None)]
    return "\n".join(lines) + "\n"
