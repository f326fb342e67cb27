"""What MkDocs is told beyond mkdocs.yml: pages from outside docs/, and links to files that the site does not have.

README, SECURITY and the like stand where people look for them in a repository. The site shows them under `project/`. A
link to another file of the repository (a report, a folder) becomes plain text, for the site must not lead to nothing.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[2]
OUTSIDE = {
    "README.md": "project/readme.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "deploy/README.md": "project/deploy.md",
    "benchmarks/README.md": "project/benchmarks.md",
}
# A page that was opened from a folder may not start a worker; the theme would fetch this substitute from elsewhere.
WORKER = "https://unpkg.com/iframe-worker/shim"
OUR_WORKER = "assets/javascripts/iframe-worker.js"
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
_CODE = re.compile(r"(^ *```.*?^ *```|^    .*?$|`[^`\n]*`)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    worker = Path(__file__).parent / "assets" / "iframe-worker.js"
    files.append(File.generated(config, OUR_WORKER, abs_src_path=str(worker)))
    return files


def on_post_page(output: str, page: Any, config: MkDocsConfig) -> str:  # noqa: ARG001  # as MkDocs calls it
    """Take the theme's one script of somebody else from the site itself."""
    here = page.file.dest_uri
    return output.replace(WORKER, posixpath.relpath(OUR_WORKER, posixpath.dirname(here) or "."))


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:  # noqa: ARG001  # the same
    """Do it for the page of what is not found, too."""
    return output_content.replace(WORKER, OUR_WORKER)


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  # as MkDocs calls it
    """Let links lead to pages of the site."""
    here = page.file.src_uri
    source = next((path for path, name in OUTSIDE.items() if name == here), f"docs/{here}")

    def mended(link: re.Match[str]) -> str:
        label, target, anchor = link[1], link[2], link[3] or ""
        if not target or ":" in target:
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        wanted = OUTSIDE.get(path, path.removeprefix("docs/"))
        if path == "docs":
            wanted = "README.md"
        if path.endswith("decisions"):
            wanted = "decisions/README.md"
        if files.get_file_from_path(wanted) is None:
            return label
        return f"[{label}]({posixpath.relpath(wanted, posixpath.dirname(here) or '.')}{anchor})"

    parts = _CODE.split(markdown)
    return "".join(part if number % 2 else _LINK.sub(mended, part) for number, part in enumerate(parts))
