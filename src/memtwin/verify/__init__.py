# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random operations played on twin and host, compared step by step, and shrunk to the shortest difference."""
