"""The door: durable answers with real verification, while nobody applies them; and both processes together."""

from collections.abc import Callable, Mapping

from bench.figure import Figure, Measure, Place
from bench.side import Side
from bench.sizes import CONNECTIONS, PAIR_CONNECTIONS
from bench.stage import Stage
from bench.usage import largest_child, megabytes

#: The word in a figure's name, the unit, the word in what a load returns.
_WORDS = (("answered", "1/s", "answered"), ("half within", "ms", "p50"), ("99 % within", "ms", "p99"))
SCHEMES = ("HMAC", "RSA")


def figures() -> list[Figure]:
    """Receiver, both together, and what they take of the machine."""
    found = []
    for scheme in SCHEMES:
        for count in CONNECTIONS:
            ours, peer = f"our receiver, {scheme}, {count}", f"naive receiver, {scheme}, {count}"
            name = f"receiver, {scheme}, {count} connection{'s' if count > 1 else ''}"
            found += [
                Figure(f"{name}, {said}", unit, Place(ours, word), Place(peer, word)) for said, unit, word in _WORDS
            ]
    busiest = [f"{side} receiver, HMAC, {CONNECTIONS[-1]}" for side in ("our", "naive")]
    for said, unit, word in (("cost of 1,000 answers", "CPU s", "cpu"), ("memory", "MB", "rss")):
        found.append(Figure(f"receiver, {said}", unit, *(Place(side, word) for side in busiest)))
    for scheme in SCHEMES:
        places = (Place(f"{side} receiver, {scheme}, {CONNECTIONS[-1]}", "answered") for side in ("double", "our"))
        found.append(Figure(f"receiver, {scheme}, two processes beside one, answered", "1/s", *places))
    for word in ("answered", "applied"):
        name = f"receiver and worker together, {PAIR_CONNECTIONS} connections, {word}"
        found.append(Figure(name, "1/s", Place("our pair", word), Place("naive pair", word)))
    for said, word in (
        ("memory of a process, shared pages by share", "pss"),
        ("RSS of its largest child", "rss"),
    ):
        memory = Place("our worker's memory", word), Place("naive worker's memory", word)
        found.append(Figure(f"worker, {said}", "MB", *memory))
    return found


def measures(stage: Stage) -> list[Measure]:
    """In the order of a round."""
    sizes = stage.sizes

    def load(side: Callable[[], Side], scheme: str, connections: int) -> Callable[[], Mapping[str, float]]:
        def run() -> Mapping[str, float]:
            if scheme == "HMAC":
                stage.refresh()
            return side().load(stage.many if scheme == "HMAC" else stage.many_rsa, connections, sizes.seconds)

        return run

    def pair(side: Callable[[], Side]) -> Callable[[], Mapping[str, float]]:
        def run() -> Mapping[str, float]:
            requests = stage.requests(side(), sizes.pair_requests)
            return side().load_and_apply(requests, PAIR_CONNECTIONS, sizes.pair_seconds)

        return run

    both = {"our": lambda: stage.ours, "naive": lambda: stage.naive}
    found = [
        Measure(f"{word} receiver, {scheme}, {count}", load(side, scheme, count))
        for scheme in SCHEMES
        for count in CONNECTIONS
        for word, side in both.items()
    ]
    found += [
        Measure(f"double receiver, {scheme}, {CONNECTIONS[-1]}", load(lambda: stage.double, scheme, CONNECTIONS[-1]))
        for scheme in SCHEMES
    ]
    found += [Measure(f"{word} pair", pair(side)) for word, side in both.items()]
    return found + [
        Measure(f"{word} worker's memory", lambda side=side: _memory(side()))  # type: ignore[misc]
        for word, side in both.items()
    ]


def _memory(side: Side) -> Mapping[str, float]:
    return {"pss": megabytes(side.worker), "rss": largest_child(side.worker)}
