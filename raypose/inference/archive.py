"""What a checkpoint claims to hold, checked before it is loaded.

torch allocates what a file claims to hold: a compressed archive of a megabyte can claim ten
gigabytes, a tensor more values than its record has (torch then reads beyond it), and a pickle can
ask for a buffer of any size. `check_archive` compares the claims with the bytes. Python's own
unpickler walks the pickle with inert stand-ins for every class, so that nothing runs.
"""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from typing import Any, ClassVar

from raypose.errors import ModelError

_MAX_GROWTH = 4
"""Checkpoints are stored uncompressed; compression hardly shrinks one."""
_SLACK_BYTES = 1 << 20
_BUFFERS = ("bytearray", "Storage", "Tensor", "Parameter")
"""Ends of the names of classes that allocate a buffer of a given size."""
_VALUE_BYTES = {
    **dict.fromkeys(("ByteStorage", "CharStorage", "BoolStorage", "UntypedStorage"), 1),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(("FloatStorage", "IntStorage"), 4),
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    "ComplexDoubleStorage": 16,
}


def check_archive(content: bytes, path: object) -> None:
    """Refuse a checkpoint that claims to hold more than its bytes can.

    Raises:
        ModelError: it is no archive of torch's, or claims too much.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            names = {entry.filename.lower() for entry in entries}  # torch ignores the case
            if len(names) != len(entries):
                raise ValueError("two entries of one name")
            size = sum(entry.file_size for entry in entries)
            if size > _MAX_GROWTH * len(content) + _SLACK_BYTES:
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
        raise damaged("it is no archive of torch's", path) from error
    except Exception as error:  # bytes that are no pickle can make an unpickler raise anything
        raise damaged(f"its pickle can't be read: {error}", path) from error


class _StandIn:
    """An object of any class that ignores whatever a pickle does to it."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, value: Any) -> None: ...

    def extend(self, values: Any) -> None: ...

    def add(self, value: Any) -> None: ...


_PythonUnpickler: Any = getattr(pickle, "_Unpickler")  # noqa: B009  (in Python, so it can be subclassed)


class _Walker(_PythonUnpickler):  # type: ignore[misc]
    """Walks through a pickle; no class is imported, no function called."""

    dispatch: ClassVar[dict[int, Any]] = dict(_PythonUnpickler.dispatch)

    def __init__(self, pickled: bytes, records: dict[str, int], path: object) -> None:
        super().__init__(io.BytesIO(pickled), fix_imports=False)
        # Some functions copy their arguments, and a pickle may pass the same ones again and again.
        self._may_pass = len(pickled) + _SLACK_BYTES
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

    def load_newobj(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], arguments)

    def load_newobj_ex(self) -> None:
        self.stack.pop()
        self.load_newobj()

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

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex
    dispatch[pickle.OBJ[0]] = load_obj
    dispatch[pickle.INST[0]] = load_inst
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


def _bomb(claim: str, path: object) -> ModelError:
    return ModelError(
        f"the checkpoint claims more than it holds ({claim})",
        path=path,
        hint="Copy the file again from where the model was trained, and don't trust this one.",
    )


def damaged(reason: str, path: object) -> ModelError:
    """The error of a checkpoint that can't be read."""
    return ModelError(
        f"the checkpoint is damaged or no checkpoint ({reason[:160]})",
        path=path,
        hint="Copy the file again from where the model was trained.",
    )
