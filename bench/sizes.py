"""How much is measured: enough for seconds of work each on a small machine."""

from dataclasses import dataclass

PACKS = (1, 10, 50, 200)
CONNECTIONS = (1, 32, 128)
PAIR_CONNECTIONS = 64


@dataclass(frozen=True)
class Sizes:
    """Counts are notifications, `seconds` of one load."""

    #: Orders of each side's table.
    orders: int
    rounds: int
    #: For a drain in packs of PACKS.
    drained: tuple[int, ...]
    #: For a drain of the peers, and of our hot order and our packs of one.
    naive_drained: int
    dramatiq_drained: int
    backlog: int
    naive_backlog: int
    duplicates: int
    hot: int
    #: Of a load, a pgbench run.
    seconds: float
    pair_seconds: float
    #: Requests at hand for a load, signed by HMAC and by RSA; a load begins again when they are over.
    requests: int
    rsa_requests: int
    pair_requests: int
    #: End to end: the rate (1/s) at which latency is measured, for how long, and the ladders of rates to hold.
    flow_rate: int
    flow_seconds: float
    ladder: tuple[int, ...]
    naive_ladder: tuple[int, ...]
    ladder_seconds: float
    #: Seconds for which the highest rate has to be held after all.
    held_seconds: float
    #: Rates (1/s) at which the cost of each part is counted, and for how long.
    cost_rates: tuple[int, ...]
    cost_seconds: float
    #: Rows of `notifications` that came before.
    grown: tuple[int, ...]
    #: Expired rows to purge.
    expired: int


FULL = Sizes(
    orders=1_000_000,
    rounds=3,
    drained=(1_000, 4_000, 12_000, 12_000),
    naive_drained=600,
    dramatiq_drained=1_500,
    backlog=50_000,
    naive_backlog=2_000,
    duplicates=4_000,
    hot=400,
    seconds=3.0,
    pair_seconds=4.0,
    requests=12_000,
    rsa_requests=3_000,
    pair_requests=45_000,
    flow_rate=50,
    flow_seconds=10.0,
    ladder=(250, 500, 750, 1_000, 1_500, 2_000, 2_500, 3_000),
    naive_ladder=(25, 50, 75, 100, 150, 200, 300, 400),
    ladder_seconds=4.0,
    held_seconds=60.0,
    cost_rates=(100, 500, 1_000),
    cost_seconds=15.0,
    grown=(10_000, 1_000_000, 10_000_000),
    expired=1_000_000,
)
QUICK = Sizes(
    orders=12_000,
    rounds=1,
    drained=(30, 100, 200, 400),
    naive_drained=40,
    dramatiq_drained=60,
    backlog=60,
    naive_backlog=60,
    duplicates=200,
    hot=30,
    seconds=1.0,
    pair_seconds=1.0,
    requests=1_500,
    rsa_requests=200,
    pair_requests=2_500,
    flow_rate=50,
    flow_seconds=1.0,
    ladder=(50, 100),
    naive_ladder=(20, 40),
    ladder_seconds=1.0,
    held_seconds=2.0,
    cost_rates=(50, 100, 150),
    cost_seconds=1.0,
    grown=(1_000, 5_000),
    expired=5_000,
)
