"""What a run stands on: databases, vhost, accounts, processes. Each part is made when it is first asked for."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

import redis
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench import sides
from bench.payments import ACCOUNT, RSA_ACCOUNT, Payments, rsa_payments, write_requests
from bench.side import Side
from bench.sizes import Sizes
from providers.accounts import load_accounts
from providers.alipay import Alipay
from providers.dialect import Dialect
from tests.chaos.accounts import sandbox_accounts
from tests.chaos.brokers import own_vhost
from tests.chaos.servers import ServerMissing, own_database, plain, unique_name

REDIS = os.environ.get("PAIDONCE_TEST_REDIS_URL", "redis://127.0.0.1:6379/0")
#: Notifications that each worker applies before anything is measured.
WARM = 40
_RSA_TABLE = f"""
[accounts.{RSA_ACCOUNT}]
provider = "alipay"
live = false
app_id = "2021000118634035"
seller_id = "2088621993877853"
public_keys = ["file:public.pem"]
signing_key = "file:private.pem"
"""


class Stage:
    """Everything ends with `stack`. `folder` holds logs and requests until then."""

    def __init__(self, sizes: Sizes, stack: ExitStack, folder: Path) -> None:
        self.sizes = sizes
        self.folder = folder
        self._stack = stack
        self._environment, stripes = sandbox_accounts(folder, [ACCOUNT])
        self._stripe = stripes[ACCOUNT]
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (folder / "private.pem").write_bytes(private.private_bytes(*pem))
        public = serialization.PublicFormat.SubjectPublicKeyInfo
        (folder / "public.pem").write_bytes(private.public_key().public_bytes(serialization.Encoding.PEM, public))
        with (folder / "accounts.toml").open("a") as accounts:
            accounts.write(_RSA_TABLE)
        self._dialects: dict[str, Dialect] = load_accounts(folder / "accounts.toml", self._environment)

    @cached_property
    def vhost(self) -> str:
        """The broker's URL. Raises ServerMissing."""
        return self._stack.enter_context(own_vhost()).url

    @cached_property
    def ours(self) -> Side:
        """The product."""
        return self._running(self.our_side("our", self.vhost), WARM)

    @cached_property
    def locked(self) -> Side:
        """The product with its order lock on Redis. Raises ServerMissing."""
        try:
            redis.Redis.from_url(REDIS, socket_connect_timeout=3).ping()
        except redis.RedisError as why:
            raise ServerMissing("Redis", "PAIDONCE_TEST_REDIS_URL", why) from None
        broker = self._stack.enter_context(own_vhost()).url
        return self._running(self.our_side("locked", broker, PAIDONCE_LOCK_URL=REDIS), WARM)

    @cached_property
    def double(self) -> Side:
        """The product's door with two processes, and nobody behind it."""
        broker = self._stack.enter_context(own_vhost()).url
        side = self.our_side("double", broker, orders=0, PAIDONCE_WEB_PROCESSES="2")
        self._stack.callback(side.stop)
        return side

    @cached_property
    def naive(self) -> Side:
        """The usual answer."""
        secret = self._stripe.secrets[0].value.decode()
        own = {"NAIVE_SECRET": secret, "NAIVE_PUBLIC_KEY": str(self.folder / "public.pem")}
        payments = Payments(self._stripe, self.sizes.orders)
        return self._running(sides.naive(self._peers_database(), self.vhost, payments, own, self.folder), WARM)

    @cached_property
    def dramatiq(self) -> Side:
        """The careful one."""
        payments = Payments(self._stripe, self.sizes.orders)
        return self._running(sides.dramatiq(self._peers_database(), self.vhost, payments, self.folder), WARM)

    @cached_property
    def bare(self) -> str:
        """A database with our tables, for SQL alone."""
        url = self._database()
        sides.add_our_orders(url, self.sizes.orders)
        return plain(url)

    @contextmanager
    def apart(self, name: str, **environment: str) -> Iterator[Side]:
        """One of ours with a vhost, a database and processes of its own, while the block runs."""
        with ExitStack() as stack:
            broker = stack.enter_context(own_vhost()).url
            side = self.our_side(name, broker, stack, **environment)
            stack.callback(side.stop)
            side.start(WARM)
            yield side

    def our_side(
        self, name: str, broker: str, stack: ExitStack | None = None, *, orders: int | None = None, **environment: str
    ) -> Side:
        """One of ours, not started; with `orders` of its own instead of as many as all have."""
        url, count = self._database(stack), self.sizes.orders if orders is None else orders
        sides.add_our_orders(url, count)
        payments = Payments(self._stripe, count)
        logs = self.folder / name
        logs.mkdir()
        return sides.ours(url, broker, payments, {**self._environment, **environment}, logs)

    def requests(self, side: Side, count: int) -> Path:
        """`count` payments of `side` as HTTP requests."""
        return write_requests(side.payments.take(count), ACCOUNT, self.folder / "requests")

    @cached_property
    def many(self) -> Path:
        """Requests for loads whose notifications nobody applies; signed anew often enough by `refresh`."""
        return self.folder / "many"

    def refresh(self) -> None:
        """Signs them: a signature is good for five minutes."""
        payments = Payments(self._stripe, self.sizes.requests)
        write_requests(payments.take(self.sizes.requests), ACCOUNT, self.many)

    @cached_property
    def many_rsa(self) -> Path:
        """The same by Alipay, whose signatures have no clock."""
        dialect = self._dialects[RSA_ACCOUNT]
        if not isinstance(dialect, Alipay):
            raise RuntimeError("the account of the stage is Alipay's")
        path = self.folder / "many_rsa"
        return write_requests(rsa_payments(dialect, self.sizes.rsa_requests), RSA_ACCOUNT, path)

    def _running(self, side: Side, warm: int) -> Side:
        self._stack.callback(side.stop)
        side.start(warm)
        return side

    def _peers_database(self) -> str:
        url = self._database(migrated=False)
        sides.create_peers_tables(url)
        sides.add_peers_orders(url, self.sizes.orders)
        return url

    def _database(self, stack: ExitStack | None = None, *, migrated: bool = True) -> str:
        return (stack or self._stack).enter_context(own_database(unique_name("bench"), migrated=migrated))
