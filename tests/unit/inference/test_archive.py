"""What checkpoints claim: refused before torch allocates any of it."""

from __future__ import annotations

import io
import pickle
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raypose.errors import ModelError, RayposeError
from raypose.inference.checkpoint import check_archive, read_checkpoint


def saved(content: Any, **how: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


def packed(content: bytes) -> bytes:
    """The same archive with its entries compressed."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    return buffer.getvalue()


class _Storage:
    """Pickled as the reference to a record, with any number of values."""

    def __init__(self, n_values: int) -> None:
        self.n_values = n_values


class _Reduced:
    """Pickled as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, _Storage):
            return "storage", torch.FloatStorage, "0", "cpu", obj.n_values
        return None


def forged(content: Any, record: bytes = b"\0" * 64) -> bytes:
    """An archive as torch writes it, with a pickle that torch would not write."""
    pickled, buffer = io.BytesIO(), io.BytesIO()
    _Pickler(pickled, 2).dump(content)
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", pickled.getvalue())
        archive.writestr("a/data/0", record)
        archive.writestr("a/version", "3\n")
    return buffer.getvalue()


def tensor_of(n_values: int) -> _Reduced:
    rebuild = torch._utils._rebuild_tensor_v2
    return _Reduced(rebuild, _Storage(n_values), 0, (n_values,), (1,), False, OrderedDict())


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()


def test_honest_checkpoints_pass(tmp_path: Path) -> None:
    content = {
        "state_dict": OrderedDict(
            a=torch.arange(6.0).view(2, 3),
            b=torch.zeros(0),
            c=torch.arange(6.0)[::2],
            d=torch.zeros(2, dtype=torch.bfloat16),
            e=torch.tensor(3),
            f=torch.nn.Parameter(torch.ones(2)),
        ),
        "more": [{"x": (1, 2.5, None, b"bytes", bytearray(b"abc"))}, {"set": {1, 2}}],
    }
    for archive in (saved(content), packed(saved(content)), forged({"w": tensor_of(16)})):
        check_archive(archive, "a.ckpt")
    path = tmp_path / "a.ckpt"
    path.write_bytes(packed(saved(content)))
    assert read_checkpoint(path).weights["a"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_an_archive_that_unpacks_to_many_times_its_size() -> None:
    bomb = packed(saved({"w": torch.zeros(8 << 20)}))
    assert len(bomb) < 100_000
    with little_memory(), pytest.raises(ModelError, match="it would unpack from") as caught:
        check_archive(bomb, "a.ckpt")
    assert str(caught.value).startswith("a.ckpt: the checkpoint claims more than it holds")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"w": tensor_of(17)}, "claims 68 bytes, and has 64"),
        ({"w": tensor_of(10**12)}, "claims 4,000,000,000,000 bytes"),
        ({"w": tensor_of(-1)}, "claims -4 bytes"),
        ({"w": _Reduced(bytearray, 10**11)}, "asks for a bytearray of a given size"),
        ({"w": _Reduced(torch.UntypedStorage, 10**11)}, "asks for a UntypedStorage"),
        ({"w": _Reduced(torch.FloatTensor, 10**6, 10**6)}, "asks for a FloatTensor"),
        ([_Reduced(list, "x" * 10**6)] * 1, None),
        ([_Reduced(list, text) for text in ["x" * 10**6] * 9], "passes the same values"),
    ],
)
def test_a_pickle_that_claims_too_much(content: Any, message: str | None) -> None:
    archive = forged(content)
    if message is None:
        check_archive(archive, "a.ckpt")
        return
    with little_memory(), pytest.raises(ModelError, match=message):
        check_archive(archive, "a.ckpt")


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x96" + (10**11).to_bytes(8, "little") + b".",  # BYTEARRAY8
        b"\x80\x02r\xff\xff\xff\xff.",  # LONG_BINPUT
        b"\x80\x02" + b"]" * 10,
        b"I" + b"9" * 100_000 + b"\n.",
        b"ca\nb\n(I5\nQ.",
        b"\x82\x01.",
        b"",
    ],
)
def test_pickles_that_torch_does_not_write(pickled: bytes) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", pickled)
    with little_memory(), pytest.raises(ModelError, match="damaged or no checkpoint"):
        check_archive(buffer.getvalue(), "a.ckpt")


def test_old_formats_are_for_those_who_trust_them(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(saved({"w": torch.ones(2)}, _use_new_zipfile_serialization=False))
    with pytest.raises(ModelError, match="no archive of torch's"):
        read_checkpoint(path)
    assert read_checkpoint(path, allow_unsafe=True).weights["w"].tolist() == [1, 1]


def test_two_entries_of_one_name() -> None:
    buffer = io.BytesIO(saved({"w": torch.ones(2)}))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("archive/DATA.pkl", b"N.")
    with pytest.raises(ModelError, match="no archive of torch's"):
        check_archive(buffer.getvalue(), "a.ckpt")


_SMALL = saved({"state_dict": {"w": torch.ones(3)}, "hyper_parameters": {"backbone": "b"}})


@given(st.integers(0, len(_SMALL)), st.binary(max_size=24), st.integers(0, 24))
def test_any_bytes_give_weights_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, at: int, put: bytes, n_replaced: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.ckpt"
    for content in (put, _SMALL[:at] + put + _SMALL[at + n_replaced :]):
        path.write_bytes(content)
        try:
            checkpoint = read_checkpoint(path)
        except RayposeError as error:
            assert str(path) in str(error)
        else:
            assert all(isinstance(w, torch.Tensor) for w in checkpoint.weights.values())
