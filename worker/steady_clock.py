"""Beat's clock. Celery asks the wall clock when an entry is due: set back by ten minutes, it sends nothing for ten."""

from datetime import UTC, datetime, timedelta
from time import monotonic

_BEGAN, _BEGAN_AT = datetime.now(UTC), monotonic()


def steady_time() -> datetime:
    """UTC when this process began, and as long as it has been since: it never goes back."""
    return _BEGAN + timedelta(seconds=monotonic() - _BEGAN_AT)
