# SPDX-License-Identifier: LGPL-2.1-or-later
"""The twin's face: Machine, Process and Thread with the calls of a C program, and what an observer sees of them."""
