# SPDX-License-Identifier: LGPL-2.1-or-later
"""`python -m memtwin`: the memtwin command."""

from memtwin.commands import main

main()
