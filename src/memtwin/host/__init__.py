# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real thing: the C that lives in other processes, the Python that drives it, and readers of what /proc tells."""
