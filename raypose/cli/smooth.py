"""`raypose smooth`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raypose.cli.base import app, console
from raypose.cli.options import with_smooth_options

if TYPE_CHECKING:
    from raypose.config import SmoothConfig


def _smooth(config: SmoothConfig) -> int:
    """Smooth existing tables of predictions, of any tool, with EKS."""
    from raypose.pipeline import smooth
    from raypose.report.tables import print_result
    from raypose.report.terminal import live_display

    out = console()
    result = smooth(config, display=live_display(out))
    print_result(out, result)
    return result.exit_code


app.command("smooth")(with_smooth_options(_smooth))
