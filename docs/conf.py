# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sphinx's settings for the guide. `make docs` builds it in English and Korean, warnings are errors."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "memtwin"
author = "the memtwin authors"
copyright = "the memtwin authors"
extensions = ["myst_parser", "picture", "chapter"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["extensions"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "memtwin"
html_show_sourcelink = False
html_copy_source = False
locale_dirs = ["locale"]
gettext_compact = False
gettext_uuid = False
suppress_warnings = ["config.cache"]
