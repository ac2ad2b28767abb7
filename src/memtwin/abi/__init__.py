# SPDX-License-Identifier: LGPL-2.1-or-later
"""What compiler and ABI fix: sizes, alignment, the layout of structs and unions. Nothing in here knows the twin."""
