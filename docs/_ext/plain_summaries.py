"""Leave citations out of the tables of names: their numbers belong to another page."""

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.ext.autosummary import autosummary_table


def drop_citations(app, document):
    """Remove citations from the summaries, with the space before them."""
    for table in document.findall(autosummary_table):
        for reference in list(table.findall(pending_xref)):
            if reference.get("refdomain") != "citation":
                continue
            parent = reference.parent
            position = parent.index(reference)
            before = parent[position - 1] if position else None
            parent.remove(reference)
            if isinstance(before, nodes.Text):
                parent.replace(before, nodes.Text(before.astext().rstrip()))


def setup(app):
    """Register the removal."""
    app.connect("doctree-read", drop_citations)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
