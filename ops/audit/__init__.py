"""The invariants as SQL on our tables: each query names the rows that break it, and must find none."""

from ops.audit.invariant import Invariant
from ops.audit.run import INVARIANTS, examine, violations

__all__ = ["INVARIANTS", "Invariant", "examine", "violations"]
