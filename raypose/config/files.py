"""Settings from files: YAML with the names of the options, or the `run.json` of an earlier run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypose.config.options import fields_of
from raypose.config.yaml_files import load_yaml
from raypose.errors import UsageError
from raypose.limits import MAX_RUN_JSON_BYTES
from raypose.storage import local_path, regular_files
from raypose.storage.run_log import DESCRIPTION, find_run_dir

if TYPE_CHECKING:
    from raypose.config.settings import Settings

_HINT = "Give a YAML file, or the run.json or the directory of an earlier run."
_RELATIVE = ("videos", "models", "tables")  # as they were written; all other paths are absolute


def read_settings(path: str | Path, config: type[Settings]) -> dict[str, Any]:
    """The settings in a file, by the fields of a config. A directory stands for the run in it.

    Raises:
        UsageError: the file can't be read, holds no settings, or those of another command.
    """
    file = Path(path)
    if file.is_dir():
        file = find_run_dir(file) / DESCRIPTION
    if file.suffix == ".json":
        content = _read_json(file)
        is_run = isinstance(content, dict) and "raypose" in content
        if is_run and isinstance(content.get("config"), dict):
            return _of_run(content, file, config)
    else:
        content = load_yaml(file)
    if not isinstance(content, dict):
        hint = "Write one `name: value` per line, with the names of the command line's options."
        raise UsageError("holds no settings", path=file, hint=hint)
    return fields_of(config, content, file)


def _read_json(file: Path) -> Any:
    try:
        content = regular_files.read_file(file, MAX_RUN_JSON_BYTES)
        return json.loads(content.decode(errors="surrogateescape"))  # for names of files
    except OSError as error:
        raise UsageError(f"can't be read ({error.strerror})", path=file, hint=_HINT) from error
    except (ValueError, RecursionError) as error:
        raise UsageError("is not valid JSON", path=file, hint=_HINT) from error


def _of_run(content: Mapping[str, Any], file: Path, config: type[Settings]) -> dict[str, Any]:
    """The settings of a run; what was relative to its working directory still is."""
    values = dict(content["config"])
    if ("tables" in values) == config.predicts:
        command, other = ("run", "smooth") if config.predicts else ("smooth", "run")
        message = f"describes a run of raypose {other}, and can't be used with {command}"
        raise UsageError(message, path=file, hint=f"Use it with raypose {other}.")
    base = str(content.get("cwd", ""))
    for name in _RELATIVE:
        if isinstance(values.get(name), list):
            values[name] = [_from(base, text) for text in values[name]]
    return values


def _from(base: str, text: Any) -> Any:
    is_local = isinstance(text, str) and local_path(text) is not None
    return os.path.join(base, os.path.expanduser(text)) if is_local else text
