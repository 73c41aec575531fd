"""Hand to the machinery: Celery app, publisher, transaction scope, lock, settings, telemetry. Knows no table."""
