# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real C libraries of several glibc releases, to be run by their own loader beside the twin.

Each release comes from the Debian suite that carries it, fetched with the machine's own package client: apt with a
state directory of our own, so that nothing of the system's package state changes and nothing is installed; the mirror
and the keyring are the ones the machine is configured with. What is fetched lies unpacked in a cache directory:
$MEMTWIN_LIBCS, else $XDG_CACHE_HOME/memtwin/libcs, else ~/.cache/memtwin/libcs.

`python -m memtwin.host.libcs` (what `make libcs` runs) fetches all of them and prints a line each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from memtwin.errors import UserError

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# name -> glibc release, Debian architecture, Debian suite that carries it
SOURCES: dict[str, tuple[str, str, str]] = {
    "2.31": ("2.31", "amd64", "bullseye"),
    "2.36": ("2.36", "amd64", "bookworm"),
    "2.36-i386": ("2.36", "i386", "bookworm"),
    "2.41": ("2.41", "amd64", "trixie"),
    "2.43": ("2.43", "amd64", "sid"),
}


@dataclass(frozen=True)
class Libc:
    """A C library that can be run: `loader --library-path directory PROGRAM`."""

    name: str  # a key of SOURCES
    release: str  # "2.36"
    architecture: str  # Debian's name: amd64, i386
    directory: Path  # where libc.so.6 and libpthread.so.0 lie
    loader: Path

    @property
    def libc(self) -> Path:
        """The library's file."""
        return self.directory / "libc.so.6"

    @property
    def libpthread(self) -> Path:
        """Its threads: a library of their own before 2.34, an empty one since."""
        return self.directory / "libpthread.so.0"

    @property
    def word(self) -> int:
        """Bytes of a pointer."""
        return 4 if self.architecture == "i386" else 8

    @property
    def data_model(self) -> str:
        """ILP32 or LP64."""
        return "ILP32" if self.word == 4 else "LP64"


def host_release() -> str:
    """The release of this machine's C library, "2.36". UserError: it is not glibc."""
    try:
        name, _, release = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except ValueError:  # a C library that does not know the question
        name, release = "", ""
    if name != "glibc":
        raise UserError("this machine's C library is not glibc, which is what is modelled")
    return release


def cache_directory() -> Path:
    """Where fetched libraries lie; may not exist yet."""
    if own := os.environ.get("MEMTWIN_LIBCS"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "memtwin" / "libcs"


def find_libc(name: str) -> Libc:
    """The library called `name` (a key of SOURCES), from the system where it has that release, else from the cache.

    UserError: an unknown name, or one that has not been fetched.
    """
    if name not in SOURCES:
        raise UserError(f"no libc is known as {name}: choose from {', '.join(SOURCES)}")
    release, architecture, _ = SOURCES[name]
    for root in (Path("/"), cache_directory() / name):
        found = _look_below(root, name, release, architecture)
        if found:
            return found
    raise UserError(f"the C library {name} is not here: fetch it with `python -m memtwin.host.libcs {name}`")


def available() -> list[str]:
    """Names of the libraries that can be run now."""
    names = []
    for name in SOURCES:
        try:
            find_libc(name)
        except UserError:
            continue
        names.append(name)
    return names


def _look_below(root: Path, name: str, release: str, architecture: str) -> Libc | None:
    triplet, loader_name = {
        "amd64": ("x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
        "i386": ("i386-linux-gnu", "ld-linux.so.2"),
    }[architecture]
    for directory in (root / "lib" / triplet, root / "usr" / "lib" / triplet):
        libc, loader = directory / "libc.so.6", directory / loader_name
        if libc.exists() and loader.exists() and f"release version {release}.".encode() in libc.read_bytes():
            return Libc(name, release, architecture, directory, loader)
    return None


def fetch(name: str) -> Libc:
    """Fetch the library into the cache, unless it is there or the system has it.

    UserError: apt or its configuration has no Debian mirror, or the suite no longer carries that release.
    """
    try:
        return find_libc(name)
    except UserError:
        if name not in SOURCES:
            raise
    release, architecture, suite = SOURCES[name]
    with tempfile.TemporaryDirectory(prefix="memtwin-libcs-") as scratch:
        package = _download(Path(scratch), _mirror(), suite, architecture)
        _, version, _ = package.name.split("_")
        if not version.startswith((release + "-", release + ".")):
            raise UserError(
                f"Debian's {suite} carries glibc {version} now, not {release}: put a {release} into "
                f"{cache_directory() / name} by hand (dpkg-deb -x)"
            )
        target = cache_directory() / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        _run(["dpkg-deb", "-x", str(package), str(target)], {})
    return find_libc(name)


def _mirror() -> str:
    """The Debian mirror that this machine's apt uses (MEMTWIN_DEBIAN_MIRROR overrides it)."""
    if own := os.environ.get("MEMTWIN_DEBIAN_MIRROR"):
        return own
    if not shutil.which("apt-get"):
        raise UserError("no apt-get here: C libraries of other releases are fetched by a Debian package client")
    for uri in _run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], {}).split():
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise UserError("apt has no Debian mirror: set MEMTWIN_DEBIAN_MIRROR to the URL of one")


def _download(scratch: Path, mirror: str, suite: str, architecture: str) -> Path:
    """Fetch the suite's libc6 package into `scratch` with an apt state of its own; the package's file."""
    for directory in ("lists/partial", "cache/archives/partial"):
        (scratch / directory).mkdir(parents=True)
    (scratch / "status").touch()
    (scratch / "sources.list").write_text(f"deb [arch={architecture} signed-by={KEYRING}] {mirror} {suite} main\n")
    (scratch / "apt.conf").write_text(
        f'Dir::State::Lists "{scratch}/lists";\nDir::State::status "{scratch}/status";\n'
        f'Dir::Cache "{scratch}/cache";\nDir::Etc::sourcelist "{scratch}/sources.list";\nDir::Etc::sourceparts "-";\n'
        f'APT::Architecture "{architecture}";\nAPT::Architectures {{"{architecture}";}};\n'
        'APT::Sandbox::User "root";\nAcquire::Languages "none";\n'
    )
    environment = {"APT_CONFIG": str(scratch / "apt.conf")}
    _run(["apt-get", "update", "-qq"], environment)
    _run(["apt-get", "download", "-qq", f"libc6:{architecture}"], environment, scratch)
    return next(iter(scratch.glob("libc6_*.deb")))


def _run(command: list[str], environment: dict[str, str], directory: Path | None = None) -> str:
    done = subprocess.run(command, env=os.environ | environment, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise UserError(f"{' '.join(command[:2])} failed: {reason}")
    return done.stdout


def main(names: list[str]) -> int:
    """Fetch the libraries; one line each; 2 when one is missing."""
    status = 0
    for name in names or list(SOURCES):
        try:
            print(f"{name:10} {fetch(name).libc}", flush=True)
        except UserError as error:
            print(f"{name:10} missing: {error}", flush=True)
            status = 2
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
