"""`python -m bench`: one JSON object per figure on standard output, progress on standard error."""

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import floor, sides
from bench.payments import ACCOUNT, Payments
from bench.rounds import FULL, QUICK, SQL_ALONE, Figure, Measure, Sizes, figures, line, measures, run_rounds
from tests.chaos.accounts import sandbox_accounts
from tests.chaos.brokers import own_vhost
from tests.chaos.servers import ServerMissing, own_database, plain, unique_name

#: Notifications that each worker applies before anything is measured.
WARM = 40


def main() -> int:
    """Measures; 1 when a server is missing or a side does not work."""
    options = _options()
    sizes = QUICK if options.quick else FULL
    sizes = dataclasses.replace(sizes, orders=options.orders or sizes.orders, rounds=options.rounds or sizes.rounds)
    wanted = [figure for figure in figures() if options.only in figure.name]
    if not wanted:
        print(f"bench: no figure has {options.only!r} in its name", file=sys.stderr)
        return 2
    missing = floor.pgbench_is_missing()
    if missing:
        print(f"skipped, {missing}: {[one.name for one in wanted if one.peer[0] == 'pgbench']}", file=sys.stderr)
        wanted = [figure for figure in wanted if figure.peer[0] != "pgbench"]
    try:
        with _stage(sizes, wanted) as found:
            medians = run_rounds(found, wanted, sizes.rounds)
    except (ServerMissing, RuntimeError) as why:
        print(f"bench: {why}", file=sys.stderr)
        return 1
    for figure in wanted:
        print(json.dumps(line(figure, medians)), flush=True)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--orders", type=int, help=f"orders in the table, {FULL.orders} unless told")
    parser.add_argument("--rounds", type=int, help=f"rounds, of which the median counts, {FULL.rounds} unless told")
    parser.add_argument("--quick", action="store_true", help="small numbers, one round: the shape, not the speed")
    parser.add_argument("--only", default="", help="figures with this text in their name")
    return parser.parse_args()


@contextmanager
def _stage(sizes: Sizes, wanted: Sequence[Figure]) -> Iterator[dict[str, Measure]]:
    """Databases, vhost, processes: everything that the measurements need, and nothing of it stays."""
    with ExitStack() as stack:
        enter = stack.enter_context
        folder = Path(enter(tempfile.TemporaryDirectory(prefix="paidonce-bench-")))
        ours_url, peer_url = _databases(stack)
        bare_url = _bare(stack, sizes.orders) if any(one.peer[0] in SQL_ALONE for one in wanted) else ""
        vhost = enter(own_vhost())
        environment, dialects = sandbox_accounts(folder, [ACCOUNT])
        ours = sides.ours(ours_url, vhost.url, environment, folder)
        secret = dialects[ACCOUNT].secrets[0].value.decode()
        peer = sides.peer(peer_url, vhost.url, secret, folder)

        def add_orders(first: int, last: int) -> None:
            sides.add_our_orders(ours_url, first, last)
            sides.add_peers_orders(peer_url, first, last)

        payments = Payments(dialects[ACCOUNT], sizes.orders, add_orders)
        door = any("receiver" in figure.name for figure in wanted)
        warm = [payments.take(WARM), payments.take(WARM)]
        enter(sides.running(ours, peer, payments=warm, door=door))
        yield measures(ours, peer, plain(bare_url), payments=payments, sizes=sizes, folder=folder)


def _databases(stack: ExitStack) -> tuple[str, str]:
    """Ours and the peer's."""
    ours = stack.enter_context(own_database(unique_name("bench")))
    peer = stack.enter_context(own_database(unique_name("bench"), migrated=False))
    sides.create_peers_tables(peer)
    return ours, peer


def _bare(stack: ExitStack, orders: int) -> str:
    """One with our tables, for SQL alone."""
    url = stack.enter_context(own_database(unique_name("bench")))
    sides.add_our_orders(url, 1, orders)
    return url


if __name__ == "__main__":
    sys.exit(main())
