# SPDX-License-Identifier: LGPL-2.1-or-later
"""memtwin: a digital twin of a Linux process's memory."""
