# SPDX-License-Identifier: LGPL-2.1-or-later
"""The files that sequences map are as they were, whatever the kernel did to their pages meanwhile."""

from __future__ import annotations

import os

import pytest

from memtwin.verify.disturbance import RECLAIMED, read_file_cache
from memtwin.verify.scene import FILE_BYTES, FILE_CONTENT, PAGE, Scene

PAGES = -(-FILE_BYTES // PAGE)


def test_pages_that_were_taken_are_new_after_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scene() as scene:
        file = scene.descriptors["file"]
        cache = read_file_cache(file)
        if cache is None or cache.cached != PAGES:
            pytest.skip("needs cachestat(2), Linux 6.5, and a file system that shows its page cache")
        os.fdatasync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        cache = read_file_cache(file)
        assert cache is not None and cache.cached == 0
        scene.reset()
        cache = read_file_cache(file)
        assert cache is not None and cache.cached == cache.dirty == PAGES
        os.fdatasync(file)
        monkeypatch.setattr("memtwin.verify.scene.causes_since", lambda before: (RECLAIMED,))
        scene.reset()  # all pages are there, but who knows in which folios
        cache = read_file_cache(file)
        assert cache is not None and cache.dirty == PAGES
        assert os.pread(file, FILE_BYTES + 1, 0) == FILE_CONTENT
