"""Everything that raypose reads and writes: on local disks, and in object stores.

```
paths, connection  paths and URLs alike; how to reach object stores, and their errors
store              the seam: `files` and `object_store` implement it, `files` picks one
identity, digests  which file this is, and what is in it
layout             where outputs go
records, provenance, what outputs were made from, and whether they still are
origins
commits            writing outputs and their records, each in one step
scratch            local copies of objects, and outputs on their way to a store
run_log            what happens in a run
cache              what can be computed again
```
"""

from raypose.storage.connection import map_store_errors
from raypose.storage.files import (
    blocks,
    exists,
    identity_of,
    list_files,
    read_bytes,
    read_head,
    store_of,
    write_new_text,
    write_text,
)
from raypose.storage.paths import AnyPath, as_path, common_folder, local_path, parts

__all__ = [
    "AnyPath", "as_path", "blocks", "common_folder", "exists", "identity_of", "list_files",
    "local_path", "map_store_errors", "parts", "read_bytes", "read_head", "store_of",
    "write_new_text", "write_text",
]  # fmt: skip
