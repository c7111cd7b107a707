"""Models that Lightning Pose exported: which files they are, and how they travel.

`litpose export` writes into the model directory, named by the checkpoint:

```
exports_onnx/<checkpoint>_<precision>.onnx (and .onnx.data, the weights)
exports_trt/<checkpoint>_<precision>/      TensorRT engines that ONNX Runtime built from that .onnx
                                           file, and trt_metadata.json: for which GPU
```

`find_export` finds them for the plan, and their digest becomes part of the model's fingerprint;
`pack_export` reads them on the driver, so that models may be URLs. Nothing is exported or built
here: a TensorRT engine takes minutes, which belong to `litpose export` and not to every worker.
"""

from __future__ import annotations

import importlib.util
import io
import json
import shlex
import zipfile
from collections.abc import Mapping

from raypose import storage
from raypose.errors import ModelChangedError, ModelError
from raypose.specs import ExportedModel, ModelSpec
from raypose.storage import AnyPath, as_path
from raypose.storage.digests import RUN_AGAIN, digest_of_bytes, remembered_digest

METADATA = "trt_metadata.json"
"""Names the GPU and the TensorRT version that an engine was built for."""

# Copying a model directory can give its files times in any order, this close to each other; the
# next training takes longer.
_COPIED_WITHIN_NS = 600 * 10**9


def find_export(
    directory: AnyPath, checkpoint: AnyPath, model_type: str, runtime: str, precision: str
) -> ExportedModel:
    """The export of a checkpoint, as Lightning Pose names it.

    Args:
        directory: the model directory.
        checkpoint: the checkpoint in use; exports of others are not for it.
        model_type: as in the config.
        runtime: `onnx` or `tensorrt`.
        precision: `fp32` or `fp16`: which of the exports; `auto` means `fp32`.

    Raises:
        ModelError: there is no such export.
    """
    if model_type == "heatmap_mhcrnn":
        raise ModelError(
            "Lightning Pose's export of models with temporal context takes a single window of "
            f"frames at a time, and can't be used with --runtime {runtime}",
            path=directory,
            hint="Run this model with --runtime torch.",
        )
    precision = "fp32" if precision == "auto" else precision
    onnx = directory / "exports_onnx" / f"{checkpoint.stem}_{precision}.onnx"
    if not storage.exists(onnx):
        raise _no_export(directory, onnx, runtime, precision)
    files = [onnx]
    weights = onnx.with_name(f"{onnx.name}.data")
    if storage.exists(weights):
        files.append(weights)
    if runtime == "tensorrt":
        folder = directory / "exports_trt" / onnx.stem
        built = storage.list_files(folder)
        if not any(file.name.endswith(".engine") for file in built):
            raise _no_export(directory, folder, runtime, precision)
        if not any(file.name == METADATA for file in built):
            raise ModelError(
                f"the TensorRT export is not complete: it has no {METADATA}",
                path=folder,
                hint=f"Redo it: {_how_to_export(directory, runtime, precision)}.",
            )
        files += [f for f in built if f.suffix in (".engine", ".profile") or f.name == METADATA]
    try:
        digests = {file.name: remembered_digest(file) for file in files}
    except OSError as error:
        raise _unreadable(onnx, error) from error
    paths = tuple(str(file) for file in files)
    return ExportedModel(runtime, precision, paths, _joint_digest(digests))


def is_outdated(spec: ModelSpec) -> bool:
    """Whether the export is older than the checkpoint, by the files' times.

    A model trained again in the same directory can have a checkpoint of the same name, and an
    export of other weights. A copy can have any times and objects in a store have none, so this
    makes a warning, not an error.
    """
    if spec.exported is None:
        return False
    exported, trained = (
        int(storage.identity_of(as_path(path)).as_dict().get("mtime_ns", 0))
        for path in (spec.exported.path, spec.checkpoint)
    )
    return bool(exported + _COPIED_WITHIN_NS < trained)


def how_to_export(spec: ModelSpec) -> str:
    """The commands that make the export that `spec` needs."""
    assert spec.exported is not None
    return _how_to_export(as_path(spec.directory), spec.exported.runtime, spec.exported.precision)


def _how_to_export(directory: AnyPath, runtime: str, precision: str) -> str:
    command = f"litpose export {shlex.quote(str(directory))} --runtime"
    runtimes = ("onnx", "tensorrt") if runtime == "tensorrt" else ("onnx",)
    return ", then ".join(f"{command} {name} --onnx-precision {precision}" for name in runtimes)


def _no_export(directory: AnyPath, missing: AnyPath, runtime: str, precision: str) -> ModelError:
    name = "TensorRT" if missing.parent.name == "exports_trt" else "ONNX"
    hint = f"Export it: {_how_to_export(directory, runtime, precision)}"
    other = "fp16" if precision == "fp32" else "fp32"
    if storage.exists(missing.with_name(missing.name.replace(f"_{precision}", f"_{other}"))):
        hint = f"There is one in {other}: use it with --precision {other}. Or e{hint[1:]}"
    return ModelError(
        f"there is no {name} export of this model's checkpoint in {precision} "
        f"({missing.parent.name}/{missing.name})",
        path=directory,
        hint=f"{hint}.",
    )


def _joint_digest(digests: Mapping[str, str]) -> str:
    return digest_of_bytes(json.dumps(sorted(digests.items())).encode())


def pack_export(exported: ExportedModel) -> bytes:
    """The files of an exported model in one piece, for `exported.load_exported`."""
    needed = ("onnxruntime", "tensorrt") if exported.runtime == "tensorrt" else ("onnxruntime",)
    for package in needed:
        if importlib.util.find_spec(package) is None:  # here, before any worker is started
            raise not_installed(package, exported.runtime)
    buffer = io.BytesIO()
    digests = {}
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in map(as_path, exported.files):
            try:
                content = storage.read_bytes(path)
            except OSError as error:
                raise _unreadable(path, error) from error
            digests[path.name] = digest_of_bytes(content)
            # A `ZipInfo` has a fixed date: the same files give the same bytes.
            archive.writestr(zipfile.ZipInfo(path.name), content)
    if _joint_digest(digests) != exported.digest:
        raise ModelChangedError(
            "the export changed after the run was planned", path=exported.path, hint=RUN_AGAIN
        )
    return buffer.getvalue()


def _unreadable(path: AnyPath, error: OSError) -> ModelError:
    hint = "Check that the file is there and who may read it."
    return ModelError(f"the export can't be read ({error.strerror})", path=path, hint=hint)


def not_installed(package: str, runtime: str) -> ModelError:
    gpu = " With a GPU, install onnxruntime-gpu instead of onnxruntime."
    return ModelError(
        f"--runtime {runtime} needs the package {package}, which is not installed",
        hint=f"Install it on every node: uv sync --extra {runtime} in the clone of raypose."
        + (gpu if runtime == "onnx" else ""),
    )
