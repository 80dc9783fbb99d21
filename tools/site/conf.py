"""How Sphinx makes the site of what pages.py writes. Nothing is fetched from other hosts, and search needs no server."""

project = "certflow"
html_title = "certflow"
extensions = ["myst_parser"]
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
html_theme = "furo"
html_show_sphinx = False
html_copy_source = False
suppress_warnings = ["misc.highlighting_failure", "myst.header"]
