# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random allocator operations played on the twin and on a real C library, compared word for word, and shrunk."""
