"""raypose: Lightning Pose models over many, or very large, videos on every GPU there is.

import raypose

config = raypose.RunConfig(videos="videos/", models=["model_a", "model_b"], eks=True,
                           output_dir="out")
raypose.plan(config)      # what would run, and which problems there are
raypose.run(config)       # the whole job; the same as `raypose run`

config = raypose.SmoothConfig(tables=["model_a", "model_b"], eks_dir="eks")
raypose.smooth(config)    # EKS alone, on existing tables
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from raypose._version import __version__

if TYPE_CHECKING:
    from raypose.config import EksOptions, RunConfig, SmoothConfig
    from raypose.errors import (
        CancelledError,
        ClusterError,
        DeviceError,
        LabelsError,
        ModelChangedError,
        ModelError,
        NoVideoTrackError,
        OutputError,
        RayposeError,
        SmoothingError,
        StorageError,
        TableError,
        UnsafeCheckpointError,
        UsageError,
        VideoError,
        WorkerLostError,
    )
    from raypose.pipeline import plan, run, smooth

__all__ = [
    "CancelledError",
    "ClusterError",
    "DeviceError",
    "EksOptions",
    "LabelsError",
    "ModelChangedError",
    "ModelError",
    "NoVideoTrackError",
    "OutputError",
    "RayposeError",
    "RunConfig",
    "SmoothConfig",
    "SmoothingError",
    "StorageError",
    "TableError",
    "UnsafeCheckpointError",
    "UsageError",
    "VideoError",
    "WorkerLostError",
    "__version__",
    "plan",
    "run",
    "smooth",
]


def __getattr__(name: str) -> Any:
    # Looked up on first use: `import raypose` must not wait for what is not needed.
    if name not in __all__:
        raise AttributeError(f"module 'raypose' has no attribute {name!r}")
    room = "errors" if name.endswith("Error") else "config" if name[0].isupper() else "pipeline"
    return getattr(import_module(f"raypose.{room}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
