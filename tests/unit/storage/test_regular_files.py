"""Files that are files; what is none is refused at once, and never waited for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from raypose import storage
from raypose.errors import Failure, IrregularFileError
from raypose.storage import regular_files


def test_a_file_is_read_whole_and_through_links(tmp_path: Path) -> None:
    file, link = tmp_path / "a", tmp_path / "b"
    file.write_bytes(b"content")
    link.symlink_to(file)
    assert regular_files.read_file(link) == b"content"
    assert regular_files.read_file(file, max_bytes=7) == b"content"
    assert regular_files.is_file(link)
    assert regular_files.check(file).st_size == 7
    with pytest.raises(OSError, match="larger than 6 bytes"):
        regular_files.read_file(file, max_bytes=6)


def irregular(folder: Path) -> list[tuple[Path, str]]:
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "sock"))
    return [
        (folder / "pipe", "a named pipe, not a file"),
        (folder / "link", "a named pipe, not a file"),
        (folder / "sock", "a socket, not a file"),
        (Path("/dev/zero"), "a device, not a file"),
    ]


def test_pipes_sockets_and_devices_are_refused(tmp_path: Path) -> None:
    for path, message in irregular(tmp_path):
        for read in (
            regular_files.read_file,
            regular_files.check,
            regular_files.open_file,
            storage.read_bytes,
            lambda path: list(storage.blocks(path)),
        ):
            with pytest.raises(IrregularFileError, match=message) as caught:
                read(path)
        assert not regular_files.is_file(path)
        failure = Failure.of("predict", caught.value)
        assert failure.error == "OutputError"
        assert str(failure).startswith(f"{path}: this is {message}. ")


def test_directories_and_impossible_names(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        regular_files.read_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        regular_files.read_file(tmp_path / "none")
    with pytest.raises(OSError, match="not valid"):
        regular_files.read_file(tmp_path / "a\0b")
    assert not regular_files.is_file(tmp_path)
    assert not regular_files.is_file(tmp_path / "a\0b")
