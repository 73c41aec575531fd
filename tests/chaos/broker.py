"""One broker as a run sees it: how our processes reach it, what it holds, and what may befall it."""

from abc import ABC, abstractmethod

from .processes import Process


class Broker(ABC):
    """A broker of the run's own. Faults that it does not have return False."""

    kind: str
    process: Process
    port: int
    #: Whether what it confirmed is there after its disk was full.
    keeps_with_a_full_disk = False

    @abstractmethod
    def start(self) -> None:
        """Starts it, again after a crash, and returns when it answers."""

    @abstractmethod
    def url(self, port: int | None = None) -> str:
        """Its address as kombu reads it; `port`: that of a proxy before it."""

    @abstractmethod
    def environment(self, port: int | None = None) -> dict[str, str]:
        """The environment that leads our processes to it."""

    @abstractmethod
    def depth(self) -> int:
        """Packs that it still holds: waiting, or delivered and not acknowledged."""

    @abstractmethod
    def quarantined(self) -> set[str]:
        """Ids of the messages in the quarantine; some may stand there twice."""

    @abstractmethod
    def listen(self) -> None:
        """From now on everything that the outbox announces is kept for told()."""

    @abstractmethod
    def told(self) -> list[tuple[int, str, str]]:
        """(id, account, order_no) of what was announced, in the order in which it came, repetitions too. Once."""

    @abstractmethod
    def holdings(self) -> set[str]:
        """Names of everything that it keeps for us: queues, keys, consumers' names."""

    @abstractmethod
    def connections(self) -> int:
        """Open connections of clients, the caller's not counted."""

    def crash(self) -> bool:
        """By kill -9."""
        self.process.kill()
        return True

    def recover(self) -> None:
        """Started again where it ended by itself."""
        if not self.process.is_running():
            self.start()

    def stop(self) -> None:
        """For good."""
        self.process.kill()

    def cut(self) -> bool:
        """Closes the connections of our processes from its own side."""
        return False

    def memory_alarm(self, *, on: bool) -> bool:
        """It takes no messages while the alarm is on."""
        return False

    def disk_alarm(self, *, on: bool) -> bool:
        """The same for want of disk."""
        return False

    def delete_empty_queue(self) -> bool:
        """Deletes the queue of packs in a moment when it holds nothing, delivered packs counted; False: none came."""
        return False
