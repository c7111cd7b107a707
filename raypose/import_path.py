"""The import path of raypose's own processes, without the current directory.

Python puts the current directory first on the import path, and Ray adds it and the script's
directory for its workers. A clone of Lightning Pose or a file named `av.py` there would then be
imported instead of the installed package.

Only the standard library is imported, and nothing before the path is clean. As a script, this file
runs a module of raypose: `python import_path.py MODULE ARGUMENTS`.
"""

import sys

if __name__ == "__main__":
    # This file's own folder, whose modules would shadow others of the same names.
    del sys.path[0]


def leave_out_current_directory(others: "tuple[str, ...]" = ()) -> None:
    """Remove the current directory, and others, from the import path of this process."""
    # What `-m` and `-c` add, before anything is imported.
    sys.path[:] = [entry for entry in sys.path if entry not in ("", ".")]
    sys.path[:] = _clean(sys.path, others)


def command(module: str, *arguments: str) -> "list[str]":
    """What starts a process that runs a module of raypose with a clean import path."""
    return [sys.executable, __file__, module, *arguments]


def installed_folder(name: str) -> "str | None":
    """The folder of the package that raypose's processes import; None if they find none.

    A user's process, such as a notebook, may import another one.
    """
    from importlib.machinery import PathFinder

    path = _clean(sys.path, ())
    for finder in sys.meta_path:
        spec = finder.find_spec(name, path if finder is PathFinder else None)
        if spec is not None and spec.submodule_search_locations:
            return str(next(iter(spec.submodule_search_locations)))
    return None


def home() -> str:
    """The directory that contains raypose."""
    import os

    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _clean(path: "list[str]", others: "tuple[str, ...]") -> "list[str]":
    """The path without the current directory and others; folders of installed modules stay."""
    import os
    import site  # as os, imported by Python itself when it starts

    unwanted = {os.path.realpath(other) for other in others}
    try:
        unwanted.add(os.path.realpath(os.getcwd()))
    except FileNotFoundError:  # it was deleted
        pass
    library = os.path.dirname(os.__file__)
    installed = [library, os.path.join(library, "lib-dynload"), *site.getsitepackages()]
    installed.append(site.getusersitepackages())
    unwanted -= {os.path.realpath(folder) for folder in installed}
    return [entry for entry in path if entry and os.path.realpath(entry) not in unwanted]


if __name__ == "__main__":
    leave_out_current_directory()
    import importlib
    import runpy

    sys.path.insert(0, home())
    importlib.import_module("raypose")
    del sys.path[0]  # nothing beside raypose is wanted
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
