"""raypose: Lightning Pose models over many, or very large, videos on every GPU there is.

import raypose

config = raypose.RunConfig(videos=["videos/"], models=["model_a", "model_b"],
                                 eks=True, output_dir="out")
raypose.plan(config)      # what would run, and what is wrong
raypose.run(config)       # the whole job; the same as `raypose run`

config = raypose.SmoothConfig(tables=["model_a", "model_b"], eks_dir="eks")
raypose.smooth(config)    # EKS alone, on tables that are there
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raypose._version import __version__

if TYPE_CHECKING:
    from raypose.config import RunConfig, SmoothConfig
    from raypose.pipeline import plan, run, smooth

__all__ = ["RunConfig", "SmoothConfig", "__version__", "plan", "run", "smooth"]


def __getattr__(name: str) -> Any:
    # Looked up on first use: `raypose --help` must not wait for what it does not need.
    if name in ("RunConfig", "SmoothConfig"):
        from raypose import config

        return getattr(config, name)
    if name in ("plan", "run", "smooth"):
        from raypose import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'raypose' has no attribute {name!r}")
