"""What MkDocs does besides: pages from outside of docs/, generated parts, and links to the rest.

The pages are written for GitHub, so that links to other files of the repository are relative. In
the site, those to pages of the site stay inside it, and the others lead to the repository. A link
to a file that does not exist is a warning, which `mkdocs build --strict` does not accept.
"""

from __future__ import annotations

import logging
import os
import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Any

import reference
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]

INCLUDED = {
    "cluster/README.md": "cluster.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Files of the repository that are pages of the site too: path → page."""

GENERATED = {
    "<!-- generated: command line -->": reference.command_line,
    "<!-- generated: settings -->": reference.settings,
}
"""Comments in pages that stand for what is made from the code, and what makes it."""

_LINK = re.compile(r"(\]\(|src=\"|href=\")([^)\s\"#]+)(#[^)\s\"]*)?(?=[)\s\"])")
_CODE = re.compile(r"^( *)```.*?^\1```|`[^`\n]+`", re.MULTILINE | re.DOTALL)

log = logging.getLogger("mkdocs.hooks.raypose")


def on_files(files: Files, config: Any) -> Files:
    for path, page in INCLUDED.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    path = source_of(page.file.src_uri)
    for mark, make in GENERATED.items():
        if mark in markdown:
            markdown = markdown.replace(mark, make())

    def link(match: re.Match[str]) -> str:
        before, target, anchor = match.group(1), match.group(2), match.group(3) or ""
        return before + resolve(target, path, page.file.src_uri, config["repo_url"]) + anchor

    # Between pieces of code, in which brackets are no links.
    pieces, end = [], 0
    for code in _CODE.finditer(markdown):
        pieces += [_LINK.sub(link, markdown[end : code.start()]), code.group()]
        end = code.end()
    return "".join([*pieces, _LINK.sub(link, markdown[end:])])


def source_of(page: str) -> PurePosixPath:
    """The file of the repository that a page is made from."""
    outside = {made: path for path, made in INCLUDED.items()}
    return PurePosixPath(outside.get(page, f"docs/{page}"))


def resolve(target: str, source: PurePosixPath, page: str, repository: str) -> str:
    """Where a link in a file of the repository leads in the site.

    Args:
        target: the link, without its anchor.
        source: the file with the link, relative to the repository.
        page: the page that is made from it, relative to docs/.
        repository: the repository's address, without a slash at the end.
    """
    if "://" in target or target.startswith(("mailto:", "/")):
        return target
    path = posixpath.normpath(posixpath.join(str(source.parent), target))
    inside = INCLUDED.get(path) or (path[len("docs/") :] if path.startswith("docs/") else "")
    if inside in INCLUDED.values() or _is_file(inside):
        return posixpath.relpath(inside, posixpath.dirname(page) or ".")
    if not (ROOT / path).exists():
        log.warning("%s links to %s, which does not exist", source, target)
    kind = "tree" if (ROOT / path).is_dir() else "blob"
    return f"{repository}/{kind}/main/{path}"


def _is_file(page: str) -> bool:
    return bool(page) and os.path.isfile(ROOT / "docs" / page)
