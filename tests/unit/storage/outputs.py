"""Outputs as the tests of this folder commit them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raypose.storage import commits
from raypose.storage.provenance import Provenance

PROVENANCE = {"kind": "predictions", "video": "v1", "model": "m1"}


def commit(
    output: Path, text: str = "a,b\n1,2\n", provenance: Provenance = PROVENANCE, **values: Any
) -> Path:
    with commits.committing(output, provenance, **values) as temporary:
        temporary.write_text(text)
    return output


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
