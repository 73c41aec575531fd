"""tasks.purge until nothing expired is left: `python -m bench.purger` prints {gone (rows), seconds, longest (ms)}."""

import json
import time
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import event

from tasks.context import context
from tasks.purge import purge_all


def main() -> None:
    """Measures each statement at the driver."""
    own, began, longest, gone = context(), [0.0], [0.0], 0

    @event.listens_for(own.engine, "before_cursor_execute")
    def _begin(*_: Any) -> None:
        began[0] = time.monotonic()

    @event.listens_for(own.engine, "after_cursor_execute")
    def _end(*_: Any) -> None:
        longest[0] = max(longest[0], time.monotonic() - began[0])

    start = time.monotonic()
    while deleted := purge_all(own, datetime.now(UTC)):
        gone += deleted
    print(json.dumps({"gone": gone, "seconds": time.monotonic() - start, "longest": longest[0] * 1000}))


if __name__ == "__main__":
    main()
