"""Tables of keypoints as files of other tools: one module for each format.

A format writes a `KeypointTable`, which need not be raypose's own, and knows nothing of runs;
`raypose.exporting` finds the tables and commits the files. To add one, write a module with a
`FORMAT`, and name it here. What is read is recognised by its content, see `raypose.tables`.
"""

from collections.abc import Iterable

from raypose.errors import UsageError
from raypose.tables.formats import coco, h5, nwb, parquet, slp
from raypose.tables.formats.base import Description, Format

__all__ = ["FORMATS", "Description", "Format", "formats_named"]

FORMATS = {module.FORMAT.name: module.FORMAT for module in (parquet, h5, nwb, slp, coco)}
"""All formats by their names, in the order in which they are listed."""


def formats_named(names: Iterable[str]) -> tuple[Format, ...]:
    """These formats, each once.

    Raises:
        UsageError: there is no such format, or a package that it needs is not installed.
    """
    chosen = tuple(dict.fromkeys(names))
    for name in chosen:
        if name not in FORMATS:
            hint = f"Give one of {', '.join(FORMATS)}."
            raise UsageError(f"--format {name} is not known", hint=hint)
        FORMATS[name].check_installed()
    return tuple(FORMATS[name] for name in chosen)
