"""raypose: Lightning Pose models over many, or very large, videos on every GPU there is.

import raypose

config = raypose.RunConfig.build(videos=["videos/"], models=["model_a", "model_b"],
                                 eks=True, output_dir="out")
raypose.plan(config)      # what would run, and what is wrong
raypose.run(config)       # the whole job; the same as `raypose run`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raypose._version import __version__

if TYPE_CHECKING:
    from raypose.config import RunConfig
    from raypose.pipeline import plan, run

__all__ = ["RunConfig", "__version__", "plan", "run"]


def __getattr__(name: str) -> Any:
    # Looked up on first use: `raypose --help` must not wait for what it does not need.
    if name == "RunConfig":
        from raypose.config import RunConfig

        return RunConfig
    if name in ("plan", "run"):
        from raypose import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'raypose' has no attribute {name!r}")
