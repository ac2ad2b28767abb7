# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sequences played first on the twin, where they are made up as they go, then on the host in batches, and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from memtwin.host.stage import StageDied
from memtwin.verify.compare import Difference, compare_observations, compare_outcomes
from memtwin.verify.generate import Generator
from memtwin.verify.host import Start
from memtwin.verify.layout import Renamer
from memtwin.verify.observation import Observation
from memtwin.verify.operations import Operation, Outcome
from memtwin.verify.shrink import consistent, shrink

TRIES = 5
# Fault-around passes over a page of a file that is locked at that moment (mm/filemap.c, next_uptodate_folio), which
# write-back does to pages that it then leaves alone, and no counter tells: the page faults by itself later, or never.
# So what is counted or resident may differ once. What a program sees may not.
ONCE = "the host did otherwise once and never again, as when a page of a file is locked for a moment"
PROGRAM_SEES = frozenset({"result", "signal", "code", "address", "value", "data", "maps"})


class Twin(Protocol):
    """The other side of the comparison."""

    def restart(self, start: Start) -> None:
        """Become what the host is right after its restart."""

    def play(self, operation: Operation) -> Outcome:
        """Perform one operation."""

    def observe(self) -> Observation:
        """What is to be seen of all living processes."""

    def validate(self) -> None:
        """Raise ValidationError when the twin's own structures do not fit together."""

    def finish(self) -> None:
        """The sequence is over; the host is about to play it."""


class HostSide(Protocol):
    """The side that is right: a Host, or what one played before (golden.Playback)."""

    def restart(self) -> Start:
        """Begin anew."""

    def revive(self) -> Start:
        """Begin anew after StageDied."""

    def play(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Perform operations in order."""

    def observe(self) -> Observation:
        """What is to be seen of all living processes."""

    def disturbances(self) -> tuple[str, ...]:
        """What the kernel has done to its processes of its own accord since they began anew."""


@dataclass
class Played:
    """One side's run. seen: observations by the number of operations that preceded them."""

    operations: list[Operation] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    seen: dict[int, Observation] = field(default_factory=dict)
    broken: Difference | None = None  # the twin itself failed


class Session:
    """A twin and a host, and how they are held against each other.

    length: operations in a sequence, which begins with a fresh process. observe_every: operations between two looks
    at pages; 0 never looks. kinds, huge: see Generator.
    """

    def __init__(
        self,
        twin: Twin,
        host: HostSide,
        length: int = 120,
        observe_every: int = 40,
        kinds: dict[str, int] | None = None,
        huge: bool = False,
    ) -> None:
        self.huge = huge
        self.twin = twin
        self.host = host
        self.length = length
        self.observe_every = observe_every
        self.kinds = kinds

    def run(self, seed: str) -> tuple[Played, Difference | None]:
        """One random sequence: what the twin made of it and the first difference."""
        start = self._restart()
        generator = Generator(Random(seed), start.facts, start.maps, self.kinds, self.huge)
        played = Played()
        while len(played.operations) < self.length and played.broken is None:
            operation = generator.next()
            self._play_on_twin(played, operation, self.observe_every)
            if played.broken is None:
                generator.note(operation, played.outcomes[-1])
        return played, self._compare(played)

    def play(self, operations: Sequence[Operation], observe_every: int = 1) -> Difference | None:
        """The first difference that these operations show."""
        return self.replay(operations, observe_every)[1]

    def replay(self, operations: Sequence[Operation], observe_every: int = 1) -> tuple[Played, Difference | None]:
        """What the twin made of these operations and the first difference; without one, the host made the same."""
        self._restart()
        played = Played()
        for operation in operations:
            self._play_on_twin(played, operation, observe_every)
            if played.broken is not None:
                break
        return played, self._compare(played)

    def settle(
        self, operations: Sequence[Operation], difference: Difference | None, observe_every: int = 1
    ) -> tuple[Difference | None, frozenset[str]]:
        """What is left of a difference when the host's own disturbances are taken out, and what those were.

        One that shows again when the sequence is played again is the twin's, and so is one during which the host says
        that nothing disturbed it, but for ONCE. Otherwise the sequence counts as what it comes to when it is played
        again, `TRIES` times at most.
        """
        causes: frozenset[str] = frozenset()
        for _ in range(TRIES):
            if difference is None:
                break
            disturbances = self.host.disturbances()
            again = self.play(operations, observe_every)
            if again is not None and (again.step, again.field) == (difference.step, difference.field):
                return again, causes
            if not disturbances:
                if again is not None or not self._only_once(operations, difference, observe_every):
                    break
                disturbances = (ONCE,)
            causes |= frozenset(disturbances)
            difference = again
        return difference, causes

    def _only_once(self, operations: Sequence[Operation], difference: Difference, observe_every: int) -> bool:
        """Whether a difference can be ONCE and none shows in `TRIES` further plays."""
        if difference.field in PROGRAM_SEES:
            return False
        return all(self.play(operations, observe_every) is None for _ in range(TRIES))

    def shrink(self, operations: Sequence[Operation], difference: Difference) -> tuple[list[Operation], Difference]:
        """The shortest sequence that shows a difference in the same field, and that difference."""
        shortest = consistent(operations[: difference.step + 1])
        found = [difference]
        look = 0 if difference.field in Outcome._fields else 1

        def differs(candidate: list[Operation]) -> bool:
            shown = self.play(candidate, look)
            if shown is None or shown.field != difference.field:
                return False
            found.append(shown)
            return True

        if differs(shortest):
            shortest = shrink(shortest, differs)
        return shortest[: found[-1].step + 1], found[-1]

    def _restart(self) -> Start:
        try:
            start = self.host.restart()
        except StageDied:
            start = self.host.revive()
        self.twin.restart(start)
        return start

    def _play_on_twin(self, played: Played, operation: Operation, observe_every: int) -> None:
        step = len(played.operations)
        played.operations.append(operation)
        try:
            played.outcomes.append(self.twin.play(operation))
            if observe_every and (step + 1) % observe_every == 0:
                played.seen[step + 1] = self.twin.observe()
                self.twin.validate()
        except Exception as error:  # whatever it is, it is a difference and is to be shrunk
            place = f"{type(error).__name__}: {error}"
            played.broken = Difference(step, operation, f"the twin fails ({type(error).__name__})", f"  twin {place}")

    def _compare(self, played: Played) -> Difference | None:
        """Play on the host what the twin has played and find the first difference."""
        self.twin.finish()
        ours, theirs = Renamer(), Renamer()
        count = len(played.outcomes)
        begin = 0
        for end in sorted({*played.seen, count}):
            operations = played.operations[begin:end]
            try:
                outcomes = self.host.play(operations)
            except StageDied as error:
                return Difference(begin, operations[0], "the host's process ended", f"  host {error}")
            for step, (operation, outcome) in enumerate(zip(operations, outcomes, strict=True), begin):
                one = played.outcomes[step]
                one = one._replace(maps=ours(one.maps))
                found = compare_outcomes(step, operation, one, outcome._replace(maps=theirs(outcome.maps)))
                if found:
                    return found
            if end in played.seen:
                found = compare_observations(end - 1, played.operations[end - 1], played.seen[end], self.host.observe())
                if found:
                    return found
            begin = end
        return played.broken
