"""Show `#| export NAME` as a small label over its code cell.

The directive on a cell's first line says which module the cell is woven
into. On the page it becomes `lib/NAME.py`, and the line is not shown; nor is
`#| after NAME`, which only tells the weaver where an appendix stands.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx

DIRECTIVE = re.compile(r"#\| (?:after \w+|export (\w+)( replace)?)\n+")


def label_cells(app: Sphinx, doctree: nodes.document) -> None:
    """Replace the directive of each code cell by a label."""
    for block in list(doctree.findall(nodes.literal_block)):
        cell = block.parent
        if "cell_input" not in cell.get("classes", ()):
            continue
        if not (match := DIRECTIVE.match(block.rawsource)):
            continue
        block.rawsource = block.rawsource[match.end() :]
        block[:] = [nodes.Text(block.rawsource)]
        if not match[1]:
            continue
        place = nodes.paragraph()
        place += nodes.literal(text=f"lib/{match[1]}.py")
        if match[2]:
            place += nodes.Text(" (replaces the earlier one)")
        # A container: a caption node would be numbered, and warn under -W.
        label = nodes.container(classes=["weave-label"])
        label += place
        cell.insert(cell.index(block), label)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("doctree-read", label_cells)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
