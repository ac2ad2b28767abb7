# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs whose start the twin must foretell: those of the system, and small ones built in every way gcc knows."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SYSTEM = (
    "cat", "bash", "python3", "perl", "gdb", "ldconfig", "sort", "git", "sqlite3", "node", "gcc", "ls", "awk",
    "/lib64/ld-linux-x86-64.so.2",
)  # fmt: skip
SOURCE = """
#ifndef BYTES
#define BYTES (5 << 20)
#endif
#ifndef DATA
#define DATA (3 << 20)
#endif
char data[DATA] = {1}, bss[BYTES];
#ifdef BARE
void _start(void) { for (;;) bss[9] = data[5]; }
#else
int main(void) { return data[5] + bss[9]; }
#endif
"""
BUILDS = {
    "no-pie": "-no-pie",
    "pie": "-pie -fPIE",
    "pie-2m": "-pie -fPIE -Wl,-z,max-page-size=0x200000",
    "pie-64k": "-pie -fPIE -Wl,-z,max-page-size=0x10000",
    "static": "-static",
    "static-2m": "-static -Wl,-z,max-page-size=0x200000",
    "static-pie": "-static-pie -fPIE",
    "static-pie-64k": "-static-pie -fPIE -Wl,-z,max-page-size=0x10000",
    "bare-pie": "-DBARE -nostdlib -static-pie -fPIE",
    "static-pie-2m": "-static-pie -fPIE -Wl,-z,max-page-size=0x200000",
    "noseparate-code": "-Wl,-z,noseparate-code",
    "execstack": "-z execstack",
    "low": "-no-pie -Wl,-Ttext-segment=0x10000",
    "high": "-DBARE -nostdlib -static -mcmodel=large -Wl,-Ttext-segment=0x600000000000",
    "large-bss": "-DBYTES=(3L<<30) -no-pie -mcmodel=medium",
    "writable-text": "-DBARE -nostdlib -static -Wl,-N",
    "bare-pie-small": "-DBARE -DDATA=5000 -DBYTES=9000 -nostdlib -static-pie -fPIE",
    "pie-small": "-DDATA=5000 -DBYTES=9000 -pie -fPIE",
    "static-small": "-DBARE -DDATA=5000 -DBYTES=9000 -nostdlib -static",
}


def find_programs() -> list[str]:
    """The paths of SYSTEM's programs that are ELF files here; a shim or script is replaced by what it starts."""
    found = []
    for name in SYSTEM:
        for path in (shutil.which(name), f"/usr/bin/{name}", f"/usr/sbin/{name}", f"/sbin/{name}"):
            if path and Path(path).exists() and Path(path).read_bytes()[:4] == b"\x7fELF":
                found.append(path)
                break
    return found


def build(name: str, place: Path) -> Path:
    """One of BUILDS, compiled into `place`."""
    source = place / "start.c"
    source.write_text(SOURCE)
    target = place / name
    subprocess.run(["gcc", "-O1", "-w", *BUILDS[name].split(), "-o", target, source], check=True)
    return target
