"""The shape of an invariant."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Invariant:
    """A promise, and the queries that find what breaks it.

    Parameters a query may use: drained (the queues are empty and nothing is excused for being young), patience
    (seconds that something may take), moment (seconds that a healthy transaction may stand), max_attempts,
    from_states and to_states (the allowed transitions), kinds and signs (how a kind's amount stands in the ledger),
    case_kinds (verdicts that open a case).
    """

    name: str
    #: One short sentence, for people.
    sentence: str
    queries: tuple[str, ...]
