"""The Celery app of the processes `worker` and `beat`: `celery -A worker.app ...`."""

from typing import Any

from celery import Celery
from celery.signals import setup_logging

from worker.broker import transport_options, transport_url
from worker.quarantine import DeclareQueues
from worker.settings import settings
from worker.telemetry import configure_logging

app = Celery("paidonce", config_source="celeryconfig")
app.conf.broker_url = transport_url(settings().broker_url)
app.conf.broker_transport_options = transport_options(settings())
app.steps["consumer"].add(DeclareQueues)


@setup_logging.connect
def _own_logging(**_: Any) -> None:
    configure_logging(settings())
