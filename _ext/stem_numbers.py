"""Number a chapter by its file's name: chapters/03_attention is chapter 3.

Sphinx counts the chapters of a table of contents from 1. This puts the
first number of their sections, figures and equations right.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def renumber(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Change the first of each number to the one in the file's name."""
    for document, sections in env.toc_secnumbers.items():
        if not (match := re.match(r"chapters/(\d+)_", document)):
            continue
        chapter = int(match[1])
        kinds = env.toc_fignumbers.get(document, {}).values()
        for numbers in (sections, *kinds):
            for anchor, number in numbers.items():
                if number:  # below the depth of the numbering there is none
                    numbers[anchor] = (chapter, *number[1:])
        links = env.tocs[document].findall(nodes.reference)
        for node in (env.titles[document], *links):
            if number := node.get("secnumber"):
                node["secnumber"] = (chapter, *number[1:])
    return []


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("env-get-updated", renumber, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
