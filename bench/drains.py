"""The worker on a prepared queue: fresh payments, a backlog of single ones, what was applied before, one hot order."""

from collections.abc import Callable, Mapping

from bench import floor
from bench.figure import Figure, Measure, Place
from bench.side import Side
from bench.sizes import PACKS
from bench.stage import Stage

#: Packs in which duplicates and a hot order come; two of the larger size are in hand at once.
_SMALL, _LARGE = 1, 50


def figures() -> list[Figure]:
    """Ours beside each peer, and beside itself where a part of it is in question."""
    found = []
    for peer in ("naive", "dramatiq"):
        for pack in PACKS:
            places = Place(f"our worker, packs of {pack}", "applied"), Place(f"{peer} worker", "applied")
            found.append(Figure(f"worker, packs of {pack}, beside {peer}", "1/s", *places))
    pgbench = f"beside pgbench, a transaction each, {floor.PGBENCH_CLIENTS} clients"
    sets = f"beside set-based SQL, {floor.SET_SIZE} per transaction, 1 connection"
    for pack in PACKS[2:]:
        ours = Place(f"our worker, packs of {pack}", "applied")
        for said, peer in ((pgbench, "pgbench"), (sets, "set-based")):
            found.append(Figure(f"worker, packs of {pack}, {said}", "1/s", ours, Place(peer, "applied")))
    costs = Place(f"our worker, packs of {_LARGE}", "cpu"), Place("naive worker", "cpu")
    found.append(Figure("worker, cost of 1,000 in packs of 50", "CPU s", *costs))
    for part, said in (("postgres", "PostgreSQL's part"), ("rabbitmq", "RabbitMQ's part")):
        places = Place(f"our worker, packs of {_LARGE}", part), Place("naive worker", part)
        found.append(Figure(f"worker, cost of 1,000 in packs of 50, {said}", "CPU s", *places))
    for peer in ("pgbench", "set-based"):
        places = Place(f"our worker, packs of {_LARGE}", "postgres"), Place(peer, "postgres")
        found.append(Figure(f"worker, cost of 1,000 in packs of 50, PostgreSQL's part beside {peer}", "CPU s", *places))
    found.append(_beside_naive("backlog of packs of one", "our backlog", "naive backlog"))
    found.append(_beside_naive("duplicates alone, packs of 50", "our duplicates", "naive duplicates"))
    first = Place("our duplicates", "applied"), Place(f"our worker, packs of {_LARGE}", "applied")
    found.append(Figure("duplicates alone beside first deliveries, packs of 50", "1/s", *first))
    for pack in (_SMALL, _LARGE):
        found.append(_beside_naive(f"one hot order, packs of {pack}", f"our hot order, {pack}", "naive hot order"))
        lock = Place(f"our hot order with the lock, {pack}", "applied"), Place(f"our hot order, {pack}", "applied")
        found.append(Figure(f"one hot order, packs of {pack}, the order lock beside none", "1/s", *lock))
    return found


def _beside_naive(name: str, ours: str, peer: str) -> Figure:
    return Figure(name, "1/s", Place(ours, "applied"), Place(peer, "applied"))


def measures(stage: Stage) -> list[Measure]:
    """In the order of a round."""
    sizes = stage.sizes

    def drain(side: Callable[[], Side], count: int, pack: int = 1) -> Callable[[], Mapping[str, float]]:
        return lambda: side().drain(side().payments.take(count), pack)

    def again(side: Callable[[], Side], count: int, pack: int) -> Callable[[], Mapping[str, float]]:
        def run() -> Mapping[str, float]:
            old = side().payments.take(count)
            side().drain(old, pack)
            # Two fresh ones behind them, for two children: when those are applied, the duplicates are done.
            return side().drain(side().payments.take(2), pack, old=old)

        return run

    def hot(side: Callable[[], Side], count: int, pack: int) -> Callable[[], Mapping[str, float]]:
        return lambda: side().drain(side().payments.failures(count), pack)

    def ours() -> Side:
        return stage.ours

    def naive() -> Side:
        return stage.naive

    found = [
        Measure(f"our worker, packs of {pack}", drain(ours, count, pack))
        for pack, count in zip(PACKS, sizes.drained, strict=True)
    ]
    found.insert(1, Measure("naive worker", drain(naive, sizes.naive_drained)))
    found.insert(3, Measure("dramatiq worker", drain(lambda: stage.dramatiq, sizes.dramatiq_drained)))
    found += [
        Measure("pgbench", lambda: floor.per_row(stage.bare, sizes.orders, sizes.seconds, stage.folder)),
        Measure("set-based", lambda: floor.set_based(stage.bare, sizes.orders, sizes.seconds)),
        Measure("our backlog", drain(ours, sizes.backlog), once=True),
        Measure("naive backlog", drain(naive, sizes.naive_backlog), once=True),
        Measure("our duplicates", again(ours, sizes.duplicates, _LARGE)),
        Measure("naive duplicates", again(naive, sizes.naive_drained, 1)),
        Measure("naive hot order", hot(naive, sizes.hot, 1)),
    ]
    for pack, count in ((_SMALL, sizes.hot), (_LARGE, sizes.hot * 5)):
        found.append(Measure(f"our hot order, {pack}", hot(ours, count, pack)))
        found.append(Measure(f"our hot order with the lock, {pack}", hot(lambda: stage.locked, count, pack)))
    return found
