"""Reading a checkpoint of Lightning Pose without running code in it.

First station of inference: file → weights and hyperparameters. A checkpoint is a pickle, and
unpickling can run code of whoever wrote the file; so it is read with torch's restricted unpickler
and a list of ten harmless globals that Lightning Pose's checkpoints hold. The next station,
`network`, builds the network.
"""

from __future__ import annotations

import io
import itertools
import numbers
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from raypose import storage
from raypose.errors import ModelChangedError, ModelError, StorageError, UnsafeCheckpointError
from raypose.inference.archive import check_archive, damaged
from raypose.storage import as_path
from raypose.storage.digests import RUN_AGAIN, digest_of_bytes

# Weights that only training uses, and that older versions of Lightning Pose saved.
_TRAINING_ONLY = ("loss_factory", "rmse_loss")
# In torch's message if it refused an object, as opposed to not understanding the file.
_REFUSALS = r"GLOBAL |Unsupported (global|class)|unrecognized function|Can only (build|create)"
# The hyperparameters that inference needs, and the largest value of a number.
_HYPERPARAMETERS = {
    "backbone": None,
    "num_keypoints": 10_000,
    "num_views": 100,
    "downsample_factor": 3,
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The parts of a checkpoint that inference needs.

    Attributes:
        weights: tensors on the CPU, by the names that Lightning Pose gives them today.
        hyperparameters: those of the module's arguments that were saved and that inference needs.
    """

    weights: Mapping[str, torch.Tensor]
    hyperparameters: Mapping[str, Any]


def read_checkpoint(
    path: str | Path,
    *,
    model_type: str = "heatmap",
    allow_unsafe: bool = False,
    digest: str = "",
) -> Checkpoint:
    """Load a checkpoint on the CPU.

    Args:
        path: the `.ckpt` file, or its URL.
        model_type: decides which names older checkpoints used.
        allow_unsafe: unpickle whatever is in the file.
        digest: of the file's bytes when the run was planned; empty if any bytes will do.

    Raises:
        ModelChangedError: the bytes have another digest.
        UnsafeCheckpointError: the file holds objects that only unsafe unpickling makes.
        ModelError: the file is missing, truncated or no checkpoint.
        StorageError: it can't be read from its store.
    """
    content = _load(path, allow_unsafe, digest)
    # Only a plain dict: OmegaConf's reads the environment.
    weights = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not any(
        isinstance(value, torch.Tensor) for value in weights.values()
    ):
        raise ModelError(
            "the checkpoint holds no weights",
            path=path,
            hint="Copy the file again from where the model was trained.",
        )
    return Checkpoint(
        weights=_usable(_with_todays_names(weights, model_type, path), path),
        hyperparameters=_hyperparameters(content.get("hyper_parameters"), path),
    )


def load_weights(module: torch.nn.Module, weights: Mapping[str, torch.Tensor], path: str) -> None:
    """Put the weights into the module; names and shapes must match exactly.

    Raises:
        ModelError: weights are missing, unexpected, of another shape, or not finite; it names
            them.
    """
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in weights]
    unexpected = [name for name in weights if name not in wanted]
    misshapen = [
        f"{name} is {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    if missing or unexpected or misshapen:
        parts = [
            f"{len(names)} weights {what} ({_some(names)})"
            for what, names in (
                ("are missing", missing),
                ("have no place in the network", unexpected),
                ("do not fit", misshapen),
            )
            if names
        ]
        raise ModelError(
            f"the checkpoint does not fit the network that the config describes: "
            f"{'; '.join(parts)}",
            path=path,
            hint="Check model_type, backbone and keypoint_names in the config, and that the "
            "checkpoint is of this model.",
        )
    broken = [name for name, tensor in weights.items() if not tensor.isfinite().all()]
    if broken:
        raise ModelError(
            f"{len(broken)} of its weights hold values that are not finite ({_some(broken)})",
            path=path,
            hint="The training diverged, or the file is damaged: use another checkpoint.",
        )
    module.load_state_dict(dict(weights))


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown}, …"


def _load(path: str | Path, allow_unsafe: bool, digest: str) -> Any:
    try:
        # Read once: the bytes that are compared with the plan are those that are loaded.
        content = storage.read_bytes(as_path(path))
        if digest and digest_of_bytes(content) != digest:
            raise ModelChangedError(
                "the checkpoint changed after the run was planned", path=path, hint=RUN_AGAIN
            )
        if allow_unsafe:
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
        check_archive(content, path)
        with torch.serialization.safe_globals(_harmless_globals()):
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(
            f"the checkpoint can't be read ({error.strerror or error})",
            path=path,
            hint="Check that the file is there and who may read it.",
        ) from error
    except pickle.UnpicklingError as error:
        if not re.search(_REFUSALS, str(error)):
            raise damaged(_first_line(error), path) from error
        raise UnsafeCheckpointError(
            "reading this checkpoint would run code that is stored in it "
            f"({_named_global(error)})",
            path=path,
            hint="If you trust whoever made the file, add --allow-unsafe-checkpoint.",
        ) from error
    except (MemoryError, ModelError, StorageError):
        raise
    except Exception as error:  # bytes that are no pickle can make an unpickler raise anything
        raise damaged(_first_line(error), path) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _harmless_globals() -> list[Any]:
    """What checkpoints of Lightning Pose hold besides tensors: containers that run no code."""
    from collections import defaultdict

    from omegaconf.base import ContainerMetadata, Metadata
    from omegaconf.dictconfig import DictConfig
    from omegaconf.listconfig import ListConfig
    from omegaconf.nodes import AnyNode

    of_omegaconf = [DictConfig, ListConfig, Metadata, ContainerMetadata, AnyNode]
    return [*of_omegaconf, Any, defaultdict, dict, list, int]


def _named_global(error: Exception) -> str:
    """`module.name` of what the checkpoint wanted to call, from torch's message."""
    words = str(error).replace("`", " ").replace(",", " ").split()
    for before, word in itertools.pairwise(words):
        if before in ("GLOBAL", "global", "class", "function") and "." in word:
            return word
    return "an object that torch does not know as harmless"


def _with_todays_names(
    weights: Mapping[Any, Any], model_type: str, path: str | Path
) -> dict[str, Any]:
    """The weights that inference uses, by the names that Lightning Pose gives them today.

    Lightning Pose once kept the head's layers in the module itself.
    """
    context = model_type == "heatmap_mhcrnn"
    renamed = {}
    for name, value in weights.items():
        if not isinstance(name, str):
            raise _misfit(f"one of its weights is called {name!r:.40}, which is no name", path)
        if name.startswith(_TRAINING_ONLY):
            continue
        if name.startswith("upsampling_layers."):
            name = ("head.head_sf." if context else "head.") + name
        renamed[name] = value
    return renamed


def _usable(weights: Mapping[str, Any], path: str | Path) -> dict[str, torch.Tensor]:
    """The same weights, each checked to be a plain dense tensor that holds all its values."""
    for name, value in weights.items():
        if not isinstance(value, torch.Tensor):
            raise _misfit(f"its weight {name} is no tensor", path)
        plain = value.layout == torch.strided and value.device.type == "cpu"
        if not plain or value.is_quantized or value.is_nested:
            raise _misfit(f"its weight {name} is no dense tensor of plain numbers", path)
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise _misfit(f"its weight {name} repeats fewer values than it claims to hold", path)
    return dict(weights)


def _hyperparameters(saved: Any, path: str | Path) -> dict[str, Any]:
    """The hyperparameters that inference needs, as plain values; no interpolation is resolved."""
    from omegaconf import DictConfig, OmegaConf

    if saved is None:
        return {}
    if isinstance(saved, DictConfig):
        saved = OmegaConf.to_container(saved, resolve=False)
    if not isinstance(saved, dict):
        raise _misfit(f"its hyper_parameters are a {type(saved).__name__}, not named", path)
    found = {}
    for name, largest in _HYPERPARAMETERS.items():
        value = saved.get(name)
        if value is None:
            continue
        if largest is None:
            allowed, good = "a name", isinstance(value, str)
        else:
            is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
            allowed, good = f"1 to {largest}", is_whole and 0 < value <= largest
        if not good:
            raise _misfit(
                f"its hyper_parameters.{name} is {value!r:.60}, and must be {allowed}", path
            )
        found[name] = value if largest is None else int(value)
    return found


def _misfit(what: str, path: str | Path) -> ModelError:
    return ModelError(
        f"the checkpoint can't be used: {what}",
        path=path,
        hint="Use a checkpoint as Lightning Pose saved it.",
    )
