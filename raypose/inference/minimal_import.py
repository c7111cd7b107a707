"""Lightning Pose's layers without what only its training needs.

`import lightning_pose.models` takes 19 s, of which the layers use 4: the rest is Lightning's
trainer, losses, data sets and what these import in turn. `exclude_training` puts empty modules in
their place, for a process that builds networks and does nothing else
(`raypose.execution.artifacts`). The layers stay Lightning Pose's, and every weight must fit them,
so a network is either the same or not built at all.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_EXCLUDED = (
    "kornia",  # softmax and filters of heatmaps; `network` and `subpixel` have their own
    "lightning",  # a tracker's base class, see `_tracker_base`
    "lightning_pose.data",  # names in annotations
    "lightning_pose.losses",  # a tracker makes one, and uses it in training
    "torchvision.ops.roi_align",  # for detection; imports torch's compiler, which takes 4 s
)


def exclude_training() -> None:
    """From here on, in the whole process, modules in `_EXCLUDED` are imported empty."""
    sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder, Loader):
    """Finds an empty module for each excluded name, and for each below it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if any(f"{fullname}.".startswith(f"{name}.") for name in _EXCLUDED):
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None: ...


class _Module(ModuleType):
    """Has every name: each is a class that can be named and made, but takes no arguments.

    So code that really uses one of them fails, with a `TypeError` or `AttributeError`.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = _tracker_base() if name == "LightningModule" else type(name, (), {})
        setattr(self, name, value)
        return value


def _tracker_base() -> type:
    """torch's module with the parts of Lightning's that a tracker uses while it is made."""
    from torch import nn

    class LightningModule(nn.Module):
        local_rank = 0

        def save_hyperparameters(self, *_: Any, **__: Any) -> None: ...

    return LightningModule
