"""A RabbitMQ node of the run's own: own name, ports, epmd and data, so that no other node is ever met."""

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import kombu

import celeryconfig

from .broker import Broker
from .ground import Ground, find, wait_for_port
from .processes import as_user, free_port

QUEUE, QUARANTINE = "paidonce.apply", "paidonce.quarantine"
#: Quorum queues: a log that is read at the start.
RECOVERY = 90
#: Disk space that no machine has free.
_TOO_MUCH, _USUAL = "1000000GB", "50MB"


#: For three seconds; `messages` of list_queues is seconds old, the queue's own count is not.
_DELETE_EMPTY = """
{ok, Queue} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"paidonce.apply">>)),
Try = fun Again(0) -> false;
          Again(Left) ->
              case ra:leader_query(amqqueue:get_pid(Queue), fun rabbit_fifo:query_messages_total/1) of
                  {ok, {_, 0}, _} -> {ok, _} = rabbit_amqqueue:delete(Queue, false, false, <<"chaos">>), true;
                  _ -> timer:sleep(20), Again(Left - 1)
              end
      end,
Try(150).
"""


class OwnRabbitMQ(Broker):
    """The default vhost of a single node."""

    kind = "rabbitmq"
    #: 3.10.8 on a file system that was full: killed then, it had lost everything confirmed since it was last started.
    keeps_with_a_full_disk = False

    def __init__(self, ground: Ground) -> None:
        """Starts nothing yet. Raises ServerMissing."""
        self._ctl = find("rabbitmqctl", "RabbitMQ")
        server, epmd = find("rabbitmq-server", "RabbitMQ"), find("epmd", "RabbitMQ")
        place, self.port, epmd_port = ground.place("rabbitmq"), free_port(), free_port()
        self._user, self._place = ground.user, place
        self._own = _environment(place, self.port, epmd_port)
        for name, content in (("enabled_plugins", "[]."), ("rabbitmq.conf", ""), ("env.conf", "")):
            (place / name).write_text(content)
        cookie = place / ".erlang.cookie"
        cookie.write_text(os.urandom(16).hex())
        cookie.chmod(0o400)
        ground.give(cookie)
        # Our own: Erlang would otherwise leave a daemon behind, or use the one of the machine's own broker.
        command = [epmd, "-address", "127.0.0.1", "-port", str(epmd_port)]
        self._epmd = ground.process("epmd", command, self._own, place)
        self.process = ground.process("rabbitmq", [server], self._own, place)

    def start(self) -> None:
        """Starts it, again after a crash, and returns when it answers."""
        if not self._epmd.is_running():
            self._epmd.start()
        self.process.start()
        wait_for_port(self.port, self.process, RECOVERY)
        deadline = time.monotonic() + RECOVERY
        while time.monotonic() < deadline and self.process.is_running():
            with suppress(Exception), kombu.Connection(self.url(), connect_timeout=3) as connection:
                connection.ensure_connection(max_retries=0)
                return
            time.sleep(0.1)
        raise RuntimeError(f"RabbitMQ does not recover; see {self.process.log}")

    def stop(self) -> None:
        super().stop()
        self._epmd.kill()

    def url(self, port: int | None = None) -> str:
        return f"amqp://guest:guest@127.0.0.1:{port or self.port}//"

    def tools(self) -> dict[str, str]:
        """What leads another program's rabbitmqctl to this node."""
        path = os.pathsep.join([str(Path(self._ctl).parent), os.environ.get("PATH", os.defpath)])
        return {**self._own, "PATH": path}

    def environment(self, port: int | None = None) -> dict[str, str]:
        return {"PAIDONCE_BROKER_URL": self.url(port)}

    def depth(self) -> int:
        """`messages` counts the unacknowledged too, which AMQP's own passive declare does not."""
        listed = self._say("list_queues", "--quiet", "--no-table-headers", "name", "messages")
        rows = [line.split("\t") for line in listed.splitlines() if "\t" in line]
        return sum(int(count) for name, count in rows if name in (QUEUE, "naive"))

    def quarantined(self) -> set[str]:
        """Takes them off: the run is over."""
        found: set[str] = set()
        with kombu.Connection(self.url(), connect_timeout=5) as connection:
            while message := connection.default_channel.basic_get(QUARANTINE, no_ack=True):
                found.add(str(message.headers.get("id")))
        return found

    def listen(self) -> None:
        with kombu.Connection(self.url(), connect_timeout=5) as connection:
            self._listener(connection.default_channel).declare()

    def told(self) -> list[tuple[int, str, str]]:
        found: list[tuple[int, str, str]] = []

        def note(message: Any) -> None:
            headers = message.headers
            found.append((int(message.properties["message_id"]), headers["account"], headers.get("order_no") or ""))

        with kombu.Connection(self.url(), connect_timeout=5) as connection, suppress(TimeoutError):
            channel = connection.default_channel
            with kombu.Consumer(channel, [self._listener(channel)], on_message=note, no_ack=True):
                while True:
                    connection.drain_events(timeout=2)
        return found

    def _listener(self, channel: Any) -> kombu.Queue:
        """A shop's queue."""
        durable = {"x-queue-type": "quorum"}
        return kombu.Queue("listener", celeryconfig.EVENTS, routing_key="#", queue_arguments=durable)(channel)

    def holdings(self) -> set[str]:
        return set(self._say("list_queues", "--quiet", "--no-table-headers", "name").split())

    def connections(self) -> int:
        return len(self._say("list_connections", "--quiet", "--no-table-headers", "pid").split())

    def cut(self) -> bool:
        self._say("close_all_connections", "chaos")
        return True

    def memory_alarm(self, *, on: bool) -> bool:
        self._say("set_vm_memory_high_watermark", "0" if on else "0.4")
        return True

    def disk_alarm(self, *, on: bool) -> bool:
        self._say("set_disk_free_limit", _TOO_MUCH if on else _USUAL)
        return True

    def delete_empty_queue(self) -> bool:
        return self._say("eval", _DELETE_EMPTY).strip() == "true"

    def _say(self, *words: str) -> str:
        """What rabbitmqctl says. Raises RuntimeError: the node may be on its way down, or not answer for a minute."""
        try:
            end = subprocess.run(
                [self._ctl, *words],
                check=False,
                capture_output=True,
                text=True,
                timeout=60,
                cwd=self._place,
                env=os.environ | self._own,
                **as_user(self._user),
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"rabbitmqctl {words[0]}: no answer") from None
        if end.returncode:
            raise RuntimeError(f"rabbitmqctl {words[0]}: {end.stderr.strip()[:200]}")
        return end.stdout


def _environment(place: Path, port: int, epmd_port: int) -> dict[str, str]:
    """Everything that would otherwise be read from /etc/rabbitmq or shared with another node."""
    return {
        "HOME": str(place),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_CRASH_DUMP_SECONDS": "0",
        "RABBITMQ_NODENAME": "chaos@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(place / "mnesia"),
        "RABBITMQ_LOG_BASE": str(place / "logs"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(place / "enabled_plugins"),
        "RABBITMQ_CONFIG_FILE": str(place / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(place / "env.conf"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(place / "conf"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }
