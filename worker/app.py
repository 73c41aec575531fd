"""The Celery app of the processes `worker` and `beat`: `celery -A worker.app ...`."""

import gc
from typing import Any

from celery import Celery
from celery.schedules import schedule
from celery.signals import after_task_publish, setup_logging, worker_process_init

from worker import failpoint
from worker.broker import transport_options, transport_url
from worker.cold_stop import ColdStop
from worker.quarantine import DeclareQueues
from worker.settings import settings
from worker.steady_clock import steady_time
from worker.telemetry import configure_logging

app = Celery("paidonce", config_source="celeryconfig")
app.conf.broker_url = transport_url(settings().broker_url)
app.conf.broker_transport_options = transport_options(settings())
app.conf.beat_schedule = {
    name: entry | {"schedule": schedule(entry["schedule"], nowfun=steady_time)}
    for name, entry in app.conf.beat_schedule.items()
}
app.steps["consumer"].update((DeclareQueues, ColdStop))


@setup_logging.connect
def _own_logging(**_: Any) -> None:
    configure_logging(settings())


@after_task_publish.connect
def _sent(**_: Any) -> None:
    failpoint.at("beat.sent")


@worker_process_init.connect
def _collect_rarely(**_: Any) -> None:
    """A pack makes tens of thousands of objects, and all of them go by their counts.

    Looking through them for cycles at the usual thresholds took a seventh of a child's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
