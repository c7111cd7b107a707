"""A model as a self-contained graph: what travels to workers and waits in the cache.

Third station of inference: checkpoint → bytes that load in a tenth of a second with torch
alone, where building the same network takes Lightning Pose and 8 to 20 s. The bytes are a header
(one line of JSON) and a payload: a TorchScript graph with its weights, batch norms folded into
convolutions, or, for a network that can't be traced exactly, its weights alone, from which
`load_network` then builds Lightning Pose's module.

torch calls TorchScript deprecated. It is used because it is what torch itself can load without
compiling: exporting takes longer, loads in seconds, and runs no faster.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypose.errors import ModelError
from raypose.inference.exports import pack_engine
from raypose.inference.upstream import installed_code
from raypose.specs import ModelSpec
from raypose.storage.cache import cache_dir, store
from raypose.storage.digests import digest_of_bytes

if TYPE_CHECKING:
    import torch
    from torch import nn

    from raypose.inference.network import Architecture

_MAGIC = b"raypose graph\n"
_FORMAT = 2
# Largest difference between graph and module, as a share of a heatmap's maximum. Below it
# keypoints move by less than 0.001 px.
_TOLERANCE = 2e-5
_CHECKED_BATCHES = (1, 3, 8)


@dataclass(frozen=True, slots=True)
class Network:
    """A network that is loaded on a device.

    Attributes:
        architecture: what it is made of.
        forward: images (B, 3, H, W), normalised, of `dtype` on `device`, to heatmaps
            (B, K, h, w) or coordinates (B, K, 2), both float32; with temporal context, to
            features of single frames.
        device: where it runs.
        dtype: of its weights and of the images it takes.
        heads: with temporal context, features to heatmaps (`network.ContextNetwork.heads`).
        batch_size: frames that suit it at a time; None where that is to be found out.
    """

    architecture: Architecture
    forward: Callable[[torch.Tensor], torch.Tensor]
    device: torch.device
    dtype: torch.dtype
    heads: Callable[[torch.Tensor], torch.Tensor] | None = None
    batch_size: int | None = None


def cached_graph(spec: ModelSpec, *, allow_unsafe: bool = False) -> bytes:
    """The graph of a model, from the cache or built and put there.

    The name in the cache says the model's fingerprint, the versions of the libraries that made
    the graph, and Lightning Pose's code; the content is verified by its digest. It is built of the
    checkpoint that the fingerprint was taken of, or not at all. A model with an engine has no
    graph, and its engine is what travels.

    Raises:
        ModelChangedError: checkpoint or engine changed after the run was planned.
        ModelError: the model can't be built.
    """
    if spec.engine is not None:
        return pack_engine(spec.engine)
    path = cache_dir("graphs") / f"{spec.fingerprint}-{_versions_digest()}.graph"
    kept = _read_intact(path)
    if kept is not None:
        return kept
    graph = build_graph(spec, allow_unsafe=allow_unsafe)
    store(path, graph)
    return graph


def is_cached(spec: ModelSpec) -> bool:
    """Whether `cached_graph` has nothing to build; quick, nothing is verified."""
    if spec.engine is not None:
        return True
    return (cache_dir("graphs") / f"{spec.fingerprint}-{_versions_digest()}.graph").is_file()


def build_graph(spec: ModelSpec, *, allow_unsafe: bool = False) -> bytes:
    """Turn a model into a graph with its weights. Takes 8 to 20 s; downloads nothing.

    Args:
        spec: the model.
        allow_unsafe: unpickle whatever is in the checkpoint.

    Raises:
        ModelError: the checkpoint can't be read, or does not fit the config.
        UnsafeCheckpointError: it holds objects that only unsafe unpickling makes.
    """
    from raypose.inference.network import fold_batch_norms, load_module

    module, architecture = load_module(spec, allow_unsafe=allow_unsafe)
    for candidate in (fold_batch_norms(module), module):
        payload = _traced_exactly(candidate, module, architecture)
        if payload is not None:
            return _pack("torchscript", architecture, payload)
    return _pack("weights", architecture, _saved_weights(module))


def load_network(
    graph: bytes, device: str = "cpu", precision: str = "fp32", *, path: str = ""
) -> Network:
    """Load a graph on a device.

    Args:
        graph: what `build_graph` gave.
        device: `cpu`, or `cuda:0` and so on.
        precision: `fp32`, `bf16` or `fp16`: of weights and layers; heatmaps are float32.
        path: of the model, for messages.

    Raises:
        ModelError: the bytes are damaged or of another version of raypose, or the weights are
            too large for the precision.
    """
    import torch

    from raypose.inference.network import Architecture, empty_module

    header, payload = _unpack(graph)
    architecture = Architecture(**header["architecture"])
    module: Any
    if header["kind"] == "torchscript":
        with _torchscript() as jit:
            module = jit.load(io.BytesIO(payload), map_location=device)
    else:
        module = empty_module(architecture)
        module.load_state_dict(torch.load(io.BytesIO(payload), weights_only=True))
        module.to(memory_format=torch.channels_last)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    module = module.eval().to(device=device, dtype=dtype)
    _check_range(module, precision, path)
    heads = module.heads if architecture.has_context else None
    return Network(architecture, module, torch.device(device), dtype, heads)


def _check_range(module: Any, precision: str, path: str) -> None:
    """Refuse a precision in which a weight becomes infinite (fp16 ends at 65504)."""
    if precision == "fp16" and not all(bool(w.isfinite().all()) for w in module.parameters()):
        raise ModelError(
            "weights of this model are too large for fp16",
            path=path,
            hint="Run it with --precision bf16 or fp32.",
        )


def _traced_exactly(candidate: nn.Module, module: Any, architecture: Architecture) -> bytes | None:
    """The candidate as a saved graph if it answers as the module does, else None."""
    import torch

    from raypose.inference.network import example_images

    candidate = candidate.to(memory_format=torch.channels_last)
    try:
        with _torchscript() as jit, torch.no_grad():
            example = example_images(architecture, 2, seed=0)
            inputs = {"forward": example}
            if architecture.has_context:
                inputs["heads"] = candidate(example_images(architecture, 6, seed=0))
            traced = jit.trace_module(candidate, inputs, check_trace=False)
            buffer = io.BytesIO()
            jit.save(traced, buffer)
            payload = buffer.getvalue()
            loaded = jit.load(io.BytesIO(payload))
    except (RuntimeError, TypeError, ValueError):
        # Control flow or operations that a trace can't hold; the caller has another way.
        return None
    with torch.inference_mode():
        for seed, batch in enumerate(_CHECKED_BATCHES):
            images = example_images(architecture, batch, seed=seed)
            expected, got = module(images), loaded(images)
            if architecture.has_context:
                # A window needs five frames.
                expected, got = expected.repeat(5, 1, 1, 1), got.repeat(5, 1, 1, 1)
                expected, got = module.heads(expected), loaded.heads(got)
            if not _agree(expected, got):
                return None
    return payload


def _agree(expected: torch.Tensor, got: torch.Tensor) -> bool:
    if expected.shape != got.shape:
        return False
    scale = expected.flatten(-2).abs().amax(-1).clamp_min(1e-12)
    worst = ((got - expected).flatten(-2).abs().amax(-1) / scale).max()
    return bool(worst <= _TOLERANCE)


def _saved_weights(module: nn.Module) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    return buffer.getvalue()


def _pack(kind: str, architecture: Architecture, payload: bytes) -> bytes:
    header = {
        "format": _FORMAT,
        "kind": kind,
        "architecture": architecture.as_dict(),
        "versions": _versions(),
        "digest": digest_of_bytes(payload),
    }
    return _MAGIC + json.dumps(header).encode() + b"\n" + payload


def _unpack(graph: bytes) -> tuple[dict[str, Any], bytes]:
    start = len(_MAGIC)
    end = graph.find(b"\n", start)
    try:
        if not graph.startswith(_MAGIC):
            raise ValueError("it is no graph")
        header = json.loads(graph[start:end])
        payload = graph[end + 1 :]
        if header["format"] != _FORMAT or header["digest"] != digest_of_bytes(payload):
            raise ValueError("it is damaged or of another version")
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"the prepared network can't be used ({error})",
            hint="Delete raypose's cache directory and run the same command again.",
        ) from error
    return header, payload


def _read_intact(path: Path) -> bytes | None:
    try:
        graph = path.read_bytes()
        _unpack(graph)
    except (OSError, ModelError):
        return None
    return graph


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("torch", "lightning-pose")}


def _versions_digest() -> str:
    told = json.dumps([_FORMAT, _versions(), installed_code()]).encode()
    return digest_of_bytes(told)[:8]


@contextlib.contextmanager
def _torchscript() -> Iterator[Any]:
    """`torch.jit` (which has no types), without its notices that it is deprecated."""
    import torch

    jit: Any = torch.jit
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=FutureWarning)
        # Shapes that Python code looks at become constants; `_agree` sees to it that this does
        # no harm.
        warnings.filterwarnings("ignore", category=jit.TracerWarning)
        # Tracing looks at every attribute of a transformer, deprecated ones too.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield jit
