"""A model as a network artifact: the bytes that travel to workers and wait in the cache.

They load in a tenth of a second with torch alone, where building the same network takes Lightning
Pose and 8 to 20 s. The bytes are a header (one line of JSON) and a payload: a TorchScript graph
with its weights, batch norms folded into convolutions, or, for a network that can't be traced
exactly, its weights alone, from which `load_network` builds Lightning Pose's module.

torch calls TorchScript deprecated. It is used because torch itself can load it without compiling:
`torch.export` takes longer, loads in seconds, and runs no faster.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import io
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypose.errors import ModelError
from raypose.import_path import installed_folder
from raypose.inference.exports import pack_export
from raypose.specs import ModelSpec
from raypose.storage.cache import cache_dir, store
from raypose.storage.digests import digest_of_blocks, digest_of_bytes

if TYPE_CHECKING:
    import torch
    from torch import nn

    from raypose.inference.network import Architecture

NetworkArtifact = bytes
"""What `build_artifact` makes of a checkpoint, or `exports.pack_export` of an exported model."""

_MAGIC = b"raypose graph\n"
_FORMAT = 2
# Largest difference between the traced and the original module, as a share of a heatmap's maximum.
# Below it keypoints move by less than 0.001 px.
_TOLERANCE = 2e-5
_CHECKED_BATCHES = (1, 3, 8)


@dataclass(frozen=True, slots=True)
class Network:
    """A network that is loaded on a device.

    Attributes:
        forward: images (B, 3, H, W), normalised, of `dtype` on `device`, to heatmaps (B, K, h, w)
            or coordinates (B, K, 2), both float32; with temporal context, to features of frames.
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


def cached_artifact(spec: ModelSpec, *, allow_unsafe: bool = False) -> NetworkArtifact:
    """The artifact of a model, from the cache or built and put there.

    Its name in the cache holds the model's fingerprint, the versions of the libraries that made
    it, and a digest of Lightning Pose's code. An exported model is packed and not cached.

    Raises:
        ModelChangedError: checkpoint or export changed after the run was planned.
        ModelError: the model can't be built.
    """
    if spec.exported is not None:
        return pack_export(spec.exported)
    path = _cache_path(spec)
    with contextlib.suppress(OSError, ModelError):
        cached = path.read_bytes()
        _unpack(cached)
        return cached
    artifact = build_artifact(spec, allow_unsafe=allow_unsafe)
    store(path, artifact)
    return artifact


def is_cached(spec: ModelSpec) -> bool:
    """Whether `cached_artifact` has nothing to build; quick, nothing is verified."""
    return spec.exported is not None or _cache_path(spec).is_file()


def _cache_path(spec: ModelSpec) -> Path:
    return cache_dir("graphs") / f"{spec.fingerprint}-{_versions_digest()}.graph"


def build_artifact(spec: ModelSpec, *, allow_unsafe: bool = False) -> NetworkArtifact:
    """Build a model's artifact from its checkpoint. Takes 8 to 20 s; downloads nothing."""
    import torch

    from raypose.inference.network import fold_batch_norms, load_module

    module, architecture = load_module(spec, allow_unsafe=allow_unsafe)
    for candidate in (fold_batch_norms(module), module):
        payload = _traced_exactly(candidate, module, architecture)
        if payload is not None:
            return _pack("torchscript", architecture, payload)
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    return _pack("weights", architecture, buffer.getvalue())


def load_network(
    artifact: NetworkArtifact, device: str = "cpu", precision: str = "fp32", *, path: str = ""
) -> Network:
    """Load what `build_artifact` made on a device.

    Weights and layers are in the precision `fp32`, `bf16` or `fp16`, heatmaps in float32. On a GPU
    `fp32` computes convolutions in TF32 and matrix products in float32, as Lightning Pose does.
    The model's path is for messages.
    """
    import torch

    from raypose.inference.network import Architecture, empty_module

    # What was measured on a GPU (docs/gpu.md), whatever this torch's defaults are.
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = False
    header, payload = _unpack(artifact)
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
    if precision == "fp16" and not all(bool(w.isfinite().all()) for w in module.parameters()):
        raise ModelError(  # fp16 ends at 65504
            "weights of this model are too large for fp16",
            path=path,
            hint="Run it with --precision bf16 or fp32.",
        )
    heads = module.heads if architecture.has_context else None
    return Network(architecture, module, torch.device(device), dtype, heads)


def _traced_exactly(candidate: nn.Module, module: Any, architecture: Architecture) -> bytes | None:
    """The candidate traced and saved, if it gives what the module gives; else None."""
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
    return bool(((got - expected).flatten(-2).abs().amax(-1) / scale).max() <= _TOLERANCE)


def _pack(kind: str, architecture: Architecture, payload: bytes) -> NetworkArtifact:
    of_payload = {"architecture": asdict(architecture), "versions": _versions()}
    digest = digest_of_bytes(payload)
    header = {"format": _FORMAT, "kind": kind, **of_payload, "digest": digest}
    return _MAGIC + json.dumps(header).encode() + b"\n" + payload


def _unpack(artifact: NetworkArtifact) -> tuple[dict[str, Any], bytes]:
    start = len(_MAGIC)
    end = artifact.find(b"\n", start)
    try:
        if not artifact.startswith(_MAGIC):
            raise ValueError("it is no network artifact")
        header = json.loads(artifact[start:end])
        payload = artifact[end + 1 :]
        if header["format"] != _FORMAT or header["digest"] != digest_of_bytes(payload):
            raise ValueError("it is damaged or of another version")
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"the prepared network can't be used ({error})",
            hint="Delete raypose's cache directory and run the same command again.",
        ) from error
    return header, payload


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("torch", "lightning-pose")}


def _versions_digest() -> str:
    told = json.dumps([_FORMAT, _versions(), installed_code()]).encode()
    return digest_of_bytes(told)[:8]


@functools.cache
def installed_code() -> str:
    """A digest of the code of the installed Lightning Pose; empty if there is none.

    A version says little about a clone under development.
    """
    folder = installed_folder("lightning_pose")
    if folder is None:
        return ""
    files = ((path, path.read_bytes()) for path in sorted(Path(folder).rglob("*.py")))
    return digest_of_blocks(
        f"{path.relative_to(folder)}\\0{len(content)}\\0".encode() + content
        for path, content in files
    )


@contextlib.contextmanager
def _torchscript() -> Iterator[Any]:
    """`torch.jit` (which has no types), without its notices that it is deprecated."""
    import torch

    jit: Any = torch.jit
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=FutureWarning)
        # Shapes that Python code inspects become constants; `_agree` checks that it does no harm.
        warnings.filterwarnings("ignore", category=jit.TracerWarning)
        # Tracing touches every attribute of a transformer, deprecated ones too.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield jit
