"""Our processes import what is installed, whatever lies in the current directory."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from raypose import import_path as importpath
from raypose.import_path import installed_folder


def python(*arguments: str, cwd: Path, path: str | None = None) -> list[str]:
    outside = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *arguments],
        env=outside if path is None else {**outside, "PYTHONPATH": path},
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


LEAVE = """
from raypose.import_path import leave_out_current_directory
leave_out_current_directory(('/nowhere', {other!r}))
import sys
print(*sys.path, sep='\\n')
"""


@pytest.mark.parametrize("path", [None, ":", ".", "{here}", "{other}:{here}/../here:"])
def test_the_current_directory_is_left_out(path: str | None, tmp_path: Path) -> None:
    here, other, third = (tmp_path / name for name in ("here", "other", "third"))
    for folder in (here, other, third):
        folder.mkdir()
    given = None if path is None else path.format(here=here, other=other)
    given = os.pathsep.join(filter(None, (given, str(third))))
    clean = python("-c", "import sys; print(*sys.path, sep='\\n')", cwd=tmp_path)[1:]
    left = python("-c", LEAVE.format(other=str(other)), cwd=here, path=given)
    assert left == [str(third), *clean]


def test_what_is_installed_stays(tmp_path: Path) -> None:
    """A shell that happens to be in `site-packages`, or in the standard library."""
    for name in ("purelib", "stdlib"):
        folder = Path(sysconfig.get_paths()[name])
        left = python("-c", LEAVE.format(other=str(tmp_path)), cwd=folder)
        assert "" not in left
        assert str(folder) in left


def test_a_deleted_current_directory(tmp_path: Path) -> None:
    code = f"import os; os.rmdir({str(tmp_path / 'gone')!r}){LEAVE.format(other='/nowhere')}"
    (tmp_path / "gone").mkdir()
    assert "" not in python("-c", code, cwd=tmp_path / "gone")


def decoys(folder: Path, *names: str) -> Path:
    """Modules that leave a file beside them when they are imported, and then fail."""
    folder.mkdir(exist_ok=True)
    for name in names:
        where = folder / name
        where.mkdir()
        (where / "__init__.py").write_text(
            f"open({str(folder / 'imported')!r}, 'a').write({name!r})\nraise SystemExit(3)\n"
        )
    return folder


def test_a_module_that_runs_as_a_program(tmp_path: Path) -> None:
    """With raypose from where it is, its arguments, and nothing else from around it."""
    here = decoys(tmp_path / "here", "raypose", "numpy", "yaml", "pydantic")
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "raypose").symlink_to(Path(importpath.__file__).parent)
    (clone / "beside.py").touch()
    module = "raypose.cluster.preflight"
    arguments = [str(clone / "raypose" / "import_path.py"), module, "3.10", "3.99", ""]
    assert python(*arguments, cwd=here, path=":") == []
    code = f"import runpy, sys; sys.argv = {arguments!r}; import raypose; " + (
        "runpy.run_path(sys.argv[0], run_name='__main__'); "
        "from importlib.util import find_spec; print(find_spec('beside'))"
    )
    assert python("-c", code, cwd=tmp_path) == ["None"]
    assert not (here / "imported").exists()


def test_the_command_line(tmp_path: Path) -> None:
    names = ("typer", "click", "rich", "pydantic", "yaml", "numpy", "av")
    here = decoys(tmp_path / "here", *names)
    help_text = python("-m", "raypose", "plan", "--help", cwd=here, path=":")
    assert any("Usage" in line for line in help_text)
    assert not (here / "imported").exists()


def test_where_a_package_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = installed_folder("yaml")
    assert installed is not None and Path(installed, "__init__.py").is_file()
    decoys(tmp_path, "yaml", "no_such_package")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert installed_folder("yaml") == installed
    assert installed_folder("no_such_package") is None
