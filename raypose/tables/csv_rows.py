"""Rows of numbers in a CSV file, in any dialect that tools and spreadsheets write.

`keypoints` knows what the columns mean. Handled here: separators (comma, semicolon, tab), decimal
commas, UTF-16, line ends, and an index of integers, floats or image names. A file is read in the
only dialect that fits it, and assumptions become notes. Memory stays bounded for UTF-8.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import numpy.typing as npt

from raypose.errors import TableError
from raypose.limits import MAX_RECODED_BYTES
from raypose.storage import regular_files
from raypose.tables.row_index import IMAGE, WRITE_AGAIN, AnyName, Index, index_of

FloatArray = npt.NDArray[np.float32]
T = TypeVar("T")

_READ_BYTES = 4 << 20
_HEAD_BYTES = 1 << 16
_AS_UTF8 = 'Save it as "CSV UTF-8", or with the tool that made it.'
_FIRST_FIELD = re.compile(r'\s*(?:"[^"]*"|[^",;\t]*)([,;\t])')


@dataclass(frozen=True, slots=True)
class CsvHead:
    """A CSV file's first rows, and how to read the rest."""

    path: AnyName
    rows: list[list[str]]  # fields of the header rows
    delimiter: str  # what is between two fields
    offset: int  # of the first byte after the header rows
    content: bytes | None = None  # the whole file as UTF-8, where it had to be recoded

    def open(self) -> IO[bytes]:
        """The file, from its beginning."""
        if self.content is None:
            return regular_files.open_file(Path(self.path))
        return io.BytesIO(self.content)


def read_head(path: AnyName, n_rows: int) -> CsvHead:
    """Reads the first rows of a CSV file and detects the separator; a TableError if it is none."""
    with regular_files.open_file(Path(path)) as file:
        content = _recoded(file.read(_HEAD_BYTES), path)
    head = CsvHead(path, [], ",", 0, content)

    def lines(file: IO[bytes]) -> Iterator[str]:
        encoding = "utf-8-sig"  # spreadsheets put a byte-order mark in front
        while (line := file.readline(_READ_BYTES)).endswith(b"\n"):
            yield line.decode(encoding)
            encoding = "utf-8"

    try:
        with head.open() as file:
            delimiter = delimiter_of(file.read(_HEAD_BYTES))
            file.seek(0)
            reader = csv.reader(lines(file), delimiter=delimiter, strict=True)
            rows = list(itertools.islice(reader, n_rows))
            offset = file.tell()
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"is no CSV file in UTF-8 ({error})", path=path, hint=_AS_UTF8) from error
    if len(rows) < n_rows or not all(rows):
        raise TableError("it ends within its header rows", path=path, hint=WRITE_AGAIN)
    return replace(head, rows=rows, delimiter=delimiter, offset=offset)


def delimiter_of(head: bytes) -> str:
    """What separates the fields of a file that begins with these bytes."""
    text = head.decode("utf-8-sig", errors="replace")
    found = _FIRST_FIELD.match(text.lstrip())
    return found[1] if found else ","


def text_head(head: bytes) -> str:
    """The first bytes of a text file as text, in UTF-8 or, with its mark, UTF-16."""
    return head.decode(_marked(head) or "utf-8-sig", errors="replace")


def _marked(head: bytes) -> str:
    return "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else ""


def _recoded(head: bytes, path: AnyName) -> bytes | None:
    """The file as UTF-8 with usual line ends; None if it has these."""
    encoding = _marked(head)
    old_ends = not encoding and b"\r" in head and b"\n" not in head
    if not encoding and not old_ends:
        return None
    if os.path.getsize(path) > MAX_RECODED_BYTES:
        raise TableError("is too large for its encoding", path=path, hint=_AS_UTF8)
    data = regular_files.read_file(Path(path))
    if encoding:
        try:
            data = data.decode(encoding).encode()
        except UnicodeError as error:
            raise TableError(f"is not UTF-16 ({error})", path=path, hint=_AS_UTF8) from error
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def small_rows(path: Path, max_bytes: int) -> list[tuple[int, list[str]]]:
    """The rows of a small CSV file that are not blank: their numbers, from 1, and stripped fields.

    A TableError if it is no CSV file, an OSError if it is larger than `max_bytes`.
    """
    content = regular_files.read_file(path, max_bytes)
    content = _recoded(content, path) or content
    try:
        text = content.decode("utf-8-sig")
        if "\0" in text:
            raise TableError("is no CSV file (it holds NUL characters)", path=path, hint=_AS_UTF8)
        file = io.StringIO(text, newline="")
        lines = csv.reader(file, delimiter=delimiter_of(content), strict=True)
        rows = ((n, [field.strip() for field in row]) for n, row in enumerate(lines, 1))
        return [(n, row) for n, row in rows if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"is no CSV file in UTF-8 ({error})", path=path, hint=_AS_UTF8) from error


def read_columns(
    head: CsvHead, names: Sequence[str], texts: Sequence[str] = ()
) -> dict[str, npt.NDArray[Any]]:
    """Columns by name, of which none may come twice: numbers as float64, and (`texts`) text."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    header = head.rows[-1]
    twice = sorted({name for name in names if header.count(name) > 1})
    if twice:
        raise TableError(f"column {twice[0]} comes more than once", path=head.path)
    # Positions for names, which need not be distinct in columns that are not read.
    place = {name: str(header.index(name)) for name in names}
    types = {place[name]: "string" if name in texts else "float64" for name in names}
    all_places = [str(i) for i in range(len(header))]

    def read(decimal_point: str) -> dict[str, npt.NDArray[Any]]:
        with head.open() as file:
            file.seek(head.offset)
            try:
                rows = pa_csv.read_csv(file, *_options(head, all_places, types, decimal_point))
            except pa.ArrowInvalid as error:
                if str(error).startswith("Empty CSV file"):
                    return {name: np.array([]) for name in names}
                raise
        return {
            name: np.array([text or "" for text in rows[place[name]].to_pylist()])
            if name in texts
            else rows[place[name]].combine_chunks().to_numpy(zero_copy_only=False)
            for name in names
        }

    return _with_either_point(read, head)


def read_numbers(
    head: CsvHead, n_columns: int, columns: Sequence[int]
) -> tuple[FloatArray, tuple[str, ...]]:
    """The numbers of all rows after the header.

    Of `n_columns` beside the index, those at the positions `columns` are wanted. Returns values of
    shape (rows, len(columns)), NaN where a field is empty, and notes on what was assumed.
    """
    with head.open() as file:
        file.seek(head.offset)
        first, offset = _first_row(file, head.delimiter)
        n_rows, tail = _count_rows(file, offset)
    if n_rows == 0:
        return np.empty((0, len(columns)), np.float32), ()
    notes = _check_last(tail, n_columns + 1, head) if tail else []
    values = np.empty((n_rows, len(columns)), np.float32)

    chosen = dict.fromkeys((str(i + 1) for i in columns), "float32")
    names = [str(i) for i in range(n_columns + 1)]

    def read(decimal_point: str) -> Index:
        index = index_of(first[0] if first else "")
        types = {"0": index.arrow_type, **chosen}
        _fill(values, head, offset, index, _options(head, names, types, decimal_point))
        return index

    index = _with_either_point(read, head)
    return values, (*index.notes(), *notes)


def _with_either_point(read: Callable[[str], T], head: CsvHead) -> T:
    """What `read` returns with decimal points or, where these do not fit, with commas."""
    import pyarrow as pa

    errors: list[Exception] = []
    for decimal_point in (".", ","):
        try:
            return read(decimal_point)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            errors.append(error)
    message = f"a row can't be read: {str(errors[0])[:200]}"
    raise TableError(message, path=head.path, hint=WRITE_AGAIN) from errors[0]


def _options(
    head: CsvHead, names: list[str], types: dict[str, str], decimal_point: str
) -> tuple[Any, Any, Any]:
    """Arrow's options to read the columns of `types`, of all that have `names`."""
    import pyarrow.csv as pa_csv

    return (
        pa_csv.ReadOptions(column_names=names, block_size=_READ_BYTES),
        pa_csv.ParseOptions(delimiter=head.delimiter),
        pa_csv.ConvertOptions(
            include_columns=list(types), column_types=types, decimal_point=decimal_point
        ),
    )


def _fill(values: FloatArray, head: CsvHead, offset: int, index: Index, options: Any) -> None:
    """Read all rows from `offset` into `values`; their first column is the index."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    n_rows = 0
    in_memory = head.content is not None
    # Names need not be UTF-8.
    source = pa.BufferReader(head.content) if in_memory else pa.OSFile(os.fsencode(head.path))
    with source:
        source.seek(offset)
        for batch in pa_csv.open_csv(source, *options):
            index.check(batch.select([0]), head.path)
            filled, n_rows = n_rows, n_rows + batch.num_rows
            if n_rows > len(values):
                break
            rows = batch.select(batch.schema.names[1:]).to_tensor(null_to_nan=True)
            values[filled:n_rows] = rows.to_numpy()
    if n_rows != len(values):
        message = f"it has blank lines or line breaks within its {len(values)} rows"
        raise TableError(message, path=head.path, hint=WRITE_AGAIN)


def _first_row(file: IO[bytes], delimiter: str) -> tuple[list[str], int]:
    """The fields of the first row, and its offset; a row of nothing but an index name, which
    some tools write before it, is passed over."""
    offset = file.tell()
    fields = _fields(file.readline(_READ_BYTES), delimiter)
    if len(fields) > 1 and not any(fields[1:]) and not fields[0].strip().isdigit():
        # An image or a float may begin a row in which no keypoint was found.
        if IMAGE.match(fields[0]) is None and not re.fullmatch(r"\d+[.,]\d*", fields[0]):
            offset = file.tell()
            fields = _fields(file.readline(_READ_BYTES), delimiter)
    return fields, offset


def _fields(line: bytes, delimiter: str) -> list[str]:
    try:
        text = line.decode("utf-8-sig", errors="replace").strip("\r\n")
        return next(csv.reader([text], delimiter=delimiter), [])
    except csv.Error:
        return []


def _count_rows(file: IO[bytes], offset: int) -> tuple[int, bytes]:
    """Number of lines from `offset` to the end, and the last one if it has no line end."""
    file.seek(offset)
    n_rows = 0
    last = b"\n"
    while block := file.read(_READ_BYTES):
        n_rows += block.count(b"\n")
        last = block[-1:]
    if last == b"\n":
        return n_rows, b""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(offset, size - _READ_BYTES))
    return n_rows + 1, file.read().rpartition(b"\n")[2]


def _check_last(line: bytes, n_fields: int, head: CsvHead) -> list[str]:
    """The note on a last line without an end; refuses one that is visibly not whole."""
    fields = _fields(line, head.delimiter)
    if len(fields) < n_fields or not fields[-1].strip():
        raise TableError("its last row is cut short", path=head.path, hint=WRITE_AGAIN)
    return [
        f"its last row has no line end; it is read to its last field, {fields[-1][:40]}, which "
        "lacks digits if the file was cut short"
    ]
