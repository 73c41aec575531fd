"""Every error of the house. The docstring is the message; the branch says what to do next; no payloads, no secrets."""


class PaidonceError(Exception):
    """Something went wrong."""

    def __init__(self, *facts: object) -> None:
        text = (self.__doc__ or "").strip()
        super().__init__(f"{text} ({', '.join(map(str, facts))})" if facts else text)
        self.facts = facts


class Permanent(PaidonceError):
    """Trying again cannot help."""


class Transient(PaidonceError):
    """Trying again later may help."""


class SignatureInvalid(Permanent):
    """The signature does not prove that the provider sent this."""


class MalformedNotification(Permanent):
    """The notification is signed but cannot be read."""


class BadAmount(MalformedNotification):
    """The amount or currency is not one."""


class ConfigurationError(Permanent):
    """The configuration cannot be used."""


class BrokerUnavailable(Transient):
    """The broker did not confirm in time."""


class EffectRaced(Transient):
    """Another transaction wrote the same effect first."""


class DatabaseAway(Transient):
    """The database did not come back in time; the broker keeps the pack."""


class FenceBroken(Transient):
    """An order changed under our lock; somebody writes to it without one."""


class HandlerRaised(Transient):
    """A handler raised; its notification fails, and nothing else does."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        #: What it raised, or the driver's own error behind it.
        self.orig = getattr(error, "orig", None) or error


class EndingRefused(Permanent):
    """A handler may not end the transaction that it runs in."""


class TransactionLost(Transient):
    """A handler lost the transaction that it runs in; all of it is rolled back."""


class TransactionEnded(Permanent):
    """A handler ended the transaction that it runs in; what it wrote until then stays."""
