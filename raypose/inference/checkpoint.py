"""Reading a checkpoint of Lightning Pose without running code in it.

A checkpoint is a pickle, and unpickling can run code of whoever wrote the file; so it is read with
torch's restricted unpickler and a list of ten harmless globals that Lightning Pose's checkpoints
hold.

torch allocates what a file claims to hold: a compressed archive of a megabyte can claim ten
gigabytes, a tensor more values than its record has (torch then reads beyond it), and a pickle can
ask for a buffer of any size. `check_archive` compares the claims with the bytes first:
Python's own unpickler walks the pickle with inert stand-ins for every class.
"""

from __future__ import annotations

import io
import numbers
import pickle
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from raypose import storage
from raypose.errors import ModelChangedError, ModelError, StorageError, UnsafeCheckpointError
from raypose.limits import CHECKPOINT_SLACK_BYTES, MAX_CHECKPOINT_GROWTH, MAX_KEYPOINTS, MAX_VIEWS
from raypose.storage import as_path
from raypose.storage.digests import RUN_AGAIN, digest_of_bytes

_COPY_AGAIN = "Copy the file again from where the model was trained."
_BUFFERS = ("bytearray", "Storage", "Tensor", "Parameter")
"""Ends of the names of classes that allocate a buffer of a given size."""
_VALUE_BYTES = {
    **dict.fromkeys(("ByteStorage", "CharStorage", "BoolStorage", "UntypedStorage"), 1),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(("FloatStorage", "IntStorage"), 4),
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    "ComplexDoubleStorage": 16,
}
# Weights that only training uses, and that older versions of Lightning Pose saved.
_TRAINING_ONLY = ("loss_factory", "rmse_loss")
# In torch's message if it refused an object, as opposed to not understanding the file.
_REFUSALS = r"GLOBAL |Unsupported (global|class)|unrecognized function|Can only (build|create)"
# The hyperparameters that inference needs, and the largest value of a number.
_LARGEST = {"num_keypoints": MAX_KEYPOINTS, "num_views": MAX_VIEWS, "downsample_factor": 3}
_HYPERPARAMETERS = {"backbone": None, **_LARGEST}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What inference needs of a checkpoint: weights by today's names, and hyperparameters."""

    weights: Mapping[str, torch.Tensor]
    hyperparameters: Mapping[str, Any]


def read_checkpoint(
    path: str | Path, *, model_type: str = "heatmap", allow_unsafe: bool = False, digest: str = ""
) -> Checkpoint:
    """Load a checkpoint, a file or URL, on the CPU.

    Args:
        path: of the `.ckpt` file.
        model_type: decides which names older checkpoints used.
        allow_unsafe: unpickle whatever is in the file.
        digest: of the file's bytes when the run was planned; empty if any bytes will do.
    """
    content = _load(path, allow_unsafe, digest)
    # Only a plain dict: OmegaConf's reads the environment.
    weights = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not any(
        isinstance(value, torch.Tensor) for value in weights.values()
    ):
        raise ModelError("the checkpoint holds no weights", path=path, hint=_COPY_AGAIN)
    return Checkpoint(
        _usable(weights, model_type, path), _hyperparameters(content.get("hyper_parameters"), path)
    )


def load_weights(module: torch.nn.Module, weights: Mapping[str, torch.Tensor], path: str) -> None:
    """Put the weights into the module; names and shapes must match exactly."""
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in weights]
    unexpected = [name for name in weights if name not in wanted]
    misshapen = [
        f"{name} is {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    problems = {
        "are missing": missing,
        "have no place in the network": unexpected,
        "do not fit": misshapen,
    }
    parts = [f"{len(n)} weights {what} ({_some(n)})" for what, n in problems.items() if n]
    if parts:
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
            raise _damaged(_first_line(error), path) from error
        raise UnsafeCheckpointError(
            "reading this checkpoint would run code that is stored in it "
            f"({_named_global(error)})",
            path=path,
            hint="If you trust whoever made the file, add --allow-unsafe-checkpoint.",
        ) from error
    except (MemoryError, ModelError, StorageError):
        raise
    except Exception as error:  # bytes that are no pickle can make an unpickler raise anything
        raise _damaged(_first_line(error), path) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _harmless_globals() -> list[Any]:
    """What checkpoints of Lightning Pose hold besides tensors: containers that run no code."""
    from omegaconf import DictConfig, ListConfig
    from omegaconf.base import ContainerMetadata, Metadata
    from omegaconf.nodes import AnyNode

    of_omegaconf = [DictConfig, ListConfig, Metadata, ContainerMetadata, AnyNode]
    return [*of_omegaconf, Any, defaultdict, dict, list, int]


def _named_global(error: Exception) -> str:
    """`module.name` of what the checkpoint wanted to call, from torch's message."""
    found = re.search(r"\b(?:GLOBAL|global|class|function)[\s`,]+([^\s`,]*\.[^\s`,]*)", str(error))
    return found[1] if found else "an object that torch does not know as harmless"


def _usable(weights: Mapping[Any, Any], model_type: str, path: str | Path) -> dict[str, Any]:
    """The weights that inference uses, each checked to be a dense tensor that holds its values.

    They have the names of today: Lightning Pose once kept the head's layers in the module itself.
    """
    head = "head.head_sf." if model_type == "heatmap_mhcrnn" else "head."
    usable = {}
    for name, value in weights.items():
        if not isinstance(name, str):
            raise _misfit(f"one of its weights is called {name!r:.40}, which is no name", path)
        if name.startswith(_TRAINING_ONLY):
            continue
        usable[head + name if name.startswith("upsampling_layers.") else name] = value
    for name, value in usable.items():
        if not isinstance(value, torch.Tensor):
            raise _misfit(f"its weight {name} is no tensor", path)
        plain = value.layout == torch.strided and value.device.type == "cpu"
        if not plain or value.is_quantized or value.is_nested:
            raise _misfit(f"its weight {name} is no dense tensor of plain numbers", path)
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise _misfit(f"its weight {name} repeats fewer values than it claims to hold", path)
    return usable


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
            what = f"its hyper_parameters.{name} is {value!r:.60}, and must be {allowed}"
            raise _misfit(what, path)
        found[name] = value if largest is None else int(value)
    return found


def _misfit(what: str, path: str | Path) -> ModelError:
    hint = "Use a checkpoint as Lightning Pose saved it."
    return ModelError(f"the checkpoint can't be used: {what}", path=path, hint=hint)


def check_archive(content: bytes, path: object) -> None:
    """Refuse a checkpoint that is no archive of torch's, or claims more than its bytes hold."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            names = {entry.filename.lower() for entry in entries}  # torch ignores the case
            if len(names) != len(entries):
                raise ValueError("two entries of one name")
            size = sum(entry.file_size for entry in entries)
            if size > MAX_CHECKPOINT_GROWTH * len(content) + CHECKPOINT_SLACK_BYTES:
                raise _bomb(f"it would unpack from {len(content):,} bytes to {size:,}", path)
            (pickled,) = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
            folder = pickled.filename.removesuffix("data.pkl")
            records = {
                entry.filename.removeprefix(f"{folder}data/"): entry.file_size for entry in entries
            }
            _Walker(archive.read(pickled), records, path).load()
    except ModelError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise _damaged("it is no archive of torch's", path) from error
    except Exception as error:  # bytes that are no pickle can make an unpickler raise anything
        raise _damaged(f"its pickle can't be read: {error}", path) from error


class _StandIn:
    """An object of any class that ignores whatever a pickle does to it."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def _ignore(self, *_: Any) -> None: ...

    __setstate__ = __setitem__ = append = extend = add = _ignore


_PythonUnpickler: Any = getattr(pickle, "_Unpickler")  # noqa: B009  (in Python, so it can be subclassed)


class _Walker(_PythonUnpickler):  # type: ignore[misc]
    """Walks through a pickle; no class is imported, no function called."""

    dispatch: ClassVar[dict[int, Any]] = dict(_PythonUnpickler.dispatch)

    def __init__(self, pickled: bytes, records: dict[str, int], path: object) -> None:
        super().__init__(io.BytesIO(pickled), fix_imports=False)
        # Some functions copy their arguments, and a pickle may pass the same ones again and again.
        self._may_pass = len(pickled) + CHECKPOINT_SLACK_BYTES
        self._records = records
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        return _StandIn(name)

    def persistent_load(self, pid: Any) -> Any:
        """A storage: `("storage", class, key, location, number of values)`."""
        _, kind, key, _, n_values = pid
        held = self._records.get(str(key))
        n_bytes = int(n_values) * _VALUE_BYTES.get(getattr(kind, "name", ""), 1)
        if held is None or not 0 <= n_bytes <= held:
            raise _bomb(
                f"one of its tensors claims {n_bytes:,} bytes, and has {held or 0:,}", self._path
            )
        return _StandIn("storage")

    def _call(self, function: Any, arguments: Any) -> Any:
        name = getattr(function, "name", "")
        if name.endswith(_BUFFERS) and any(isinstance(argument, int) for argument in arguments):
            raise _bomb(f"it asks for a {name[:40]} of a given size", self._path)
        self._may_pass -= sum(len(a) for a in arguments if hasattr(a, "__len__"))
        if self._may_pass < 0:
            raise _bomb("it passes the same values many times", self._path)
        return _StandIn("object")

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], arguments)

    def load_newobj_ex(self) -> None:
        self.stack.pop()
        self.load_reduce()

    def load_obj(self) -> None:
        kind, *arguments = self.pop_mark()
        self.append(self._call(kind, arguments))

    def load_inst(self) -> None:
        self.readline()
        name = self.readline().decode("utf-8", errors="replace").strip()
        self.append(self._call(_StandIn(name), self.pop_mark()))

    def load_bytearray8(self) -> None:
        raise pickle.UnpicklingError("a buffer that torch does not write")

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError("an extension that torch does not write")

    for _code, _load in {
        pickle.REDUCE: load_reduce,
        pickle.NEWOBJ: load_reduce,
        pickle.NEWOBJ_EX: load_newobj_ex,
        pickle.OBJ: load_obj,
        pickle.INST: load_inst,
        pickle.BYTEARRAY8: load_bytearray8,
    }.items():
        dispatch[_code[0]] = _load


def _bomb(claim: str, path: object) -> ModelError:
    hint = "Copy the file again from where the model was trained, and don't trust this one."
    return ModelError(f"the checkpoint claims more than it holds ({claim})", path=path, hint=hint)


def _damaged(reason: str, path: object) -> ModelError:
    """The error of a checkpoint that can't be read."""
    message = f"the checkpoint is damaged or no checkpoint ({reason[:160]})"
    return ModelError(message, path=path, hint=_COPY_AGAIN)
