# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host against itself: whatever is compared must be the same twice, or it could not be held against a model."""

from __future__ import annotations

import os
import random

import pytest

from memtwin.verify.host import Host
from memtwin.verify.repeat import Repeat
from memtwin.verify.scene import Scene
from memtwin.verify.session import Session

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="frame numbers and map counts need root")


def test_the_host_repeats_itself() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    with Scene() as scene:
        host = Host(scene)
        session = Session(Repeat(host), host)
        differences = [session.run(f"{seed}:{sequence}")[1] for sequence in range(20)]
        host.close()
    assert differences == [None] * 20
