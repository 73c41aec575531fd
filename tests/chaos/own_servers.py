"""All servers of a run, and what the shop has written into its database before anything comes."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from .broker import Broker
from .ground import Ground
from .machine import Machines
from .own_pgmq import OwnPgmq
from .own_postgres import OwnPostgres
from .own_rabbitmq import OwnRabbitMQ
from .own_redis import OwnRedis
from .planned import Order
from .proxy import Proxy

#: Every order whose number begins so cannot be changed: what concerns it fails each time, as bad data would.
POISONED_ORDERS = """
CREATE FUNCTION poisoned() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'poisoned'; END $$;
CREATE TRIGGER poisoned BEFORE UPDATE ON orders FOR EACH ROW WHEN (NEW.order_no LIKE 'POISON-%')
EXECUTE FUNCTION poisoned();
"""


@dataclass
class Servers:
    """The run's own. `lock` where the broker is not Redis itself."""

    postgres: OwnPostgres
    broker: Broker
    proxy: Proxy
    lock: OwnRedis | None
    machines: Machines


@contextmanager
def own_servers(kind: str, folder: Path, *, with_lock: bool = True) -> Iterator[Servers]:
    """PostgreSQL, a broker of `kind`, a proxy before it, and Redis for the lock. Raises ServerMissing."""
    ground = Ground(folder)
    with ExitStack() as ending:
        postgres = OwnPostgres(ground)
        ending.callback(postgres.stop)
        postgres.start()
        broker: Broker = {
            "rabbitmq": lambda: OwnRabbitMQ(ground),
            "redis": lambda: OwnRedis(ground),
            "pgmq": lambda: OwnPgmq(postgres),
        }[kind]()
        ending.callback(broker.stop)
        broker.start()
        lock = OwnRedis(ground) if with_lock and kind != "redis" else None
        if lock is not None:
            ending.callback(lock.stop)
            lock.start()
        proxy = Proxy(broker.port)
        proxy.start()
        ending.callback(proxy.close)
        yield Servers(postgres, broker, proxy, lock, ground.machines)


def insert_orders(database: str, orders: list[Order]) -> None:
    """Pending orders."""
    with psycopg.connect(database, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO orders (account, order_no, amount, currency) VALUES (%s, %s, %s, %s)",
            [(order.account, order.order_no, order.amount, order.currency) for order in orders],
        )
