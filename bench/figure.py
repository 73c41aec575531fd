"""What a figure is, and how measurements become figures: medians over rounds, with their spread."""

import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Place(NamedTuple):
    """Where a value comes from: a measurement, and a word in what it returns."""

    measure: str
    word: str


class Figure(NamedTuple):
    """One line of the report. Without a peer it stands alone."""

    name: str
    unit: str
    ours: Place
    peer: Place | None = None

    def needs(self) -> set[str]:
        """The measurements it is made of."""
        return {place.measure for place in (self.ours, self.peer) if place is not None}


class Measure(NamedTuple):
    """One measurement: its values by word. `once`: too long to repeat, it repeats itself inside where it can."""

    name: str
    run: Callable[[], Mapping[str, float]]
    once: bool = False


#: Every value of every round.
Values = Mapping[Place, Sequence[float]]


def run_rounds(measures: Sequence[Measure], wanted: Sequence[Figure], rounds: int) -> Values:
    """Everything that `wanted` needs, in the order of `measures`, ours and the peers by turns."""
    needed = set().union(*(figure.needs() for figure in wanted))
    values: defaultdict[Place, list[float]] = defaultdict(list)
    for number in range(1, rounds + 1):
        for measure in measures:
            if measure.name in needed and (number == 1 or not measure.once):
                said = _run(measure, values)
                print(f"round {number}/{rounds}: {measure.name}: {said}", file=sys.stderr, flush=True)
    return values


def _run(measure: Measure, values: defaultdict[Place, list[float]]) -> str:
    """Adds what it found to `values`; what there is to tell. One that fails takes no other with it."""
    try:
        found = measure.run()
    except RuntimeError as why:
        return f"failed: {why}"
    for word, value in found.items():
        values[Place(measure.name, word)].append(value)
    return ", ".join(f"{word} {value:,.2f}" for word, value in found.items())


def is_whole(figure: Figure, values: Values) -> bool:
    """Whether everything that it is made of was measured at least once."""
    return all(place in values for place in (figure.ours, figure.peer) if place is not None)


def line(figure: Figure, values: Values) -> dict[str, Any]:
    """The figure as it is printed: medians, their ratio, and from the least to the most that a round gave."""
    ours = values[figure.ours]
    peer = values[figure.peer] if figure.peer is not None else None
    middle = statistics.median(ours)
    beside = None if peer is None else statistics.median(peer)
    return {
        "name": figure.name,
        "ours": round(middle, 3),
        "peer": None if beside is None else round(beside, 3),
        "ratio": round(middle / beside, 3) if beside else None,
        "unit": figure.unit,
        "ours_spread": _spread(ours),
        "peer_spread": None if peer is None else _spread(peer),
    }


def _spread(values: Sequence[float]) -> list[float]:
    return [round(min(values), 3), round(max(values), 3)]
