"""Jobs that begin together, each as another process would do it."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from shop import Shop

from worker.database import build_engine

Result = TypeVar("Result")


def twin(shop: Shop) -> Shop:
    """The same shop as another process sees it: its own engine."""
    other = Shop(build_engine(shop.engine.url.render_as_string(hide_password=False)))
    other.own = replace(shop.own, engine=other.engine)
    return other


def at_once(shop: Shop, jobs: Sequence[Callable[[Shop], Result]]) -> list[Result]:
    """Runs every job in a thread and with a twin of its own, all let go by one barrier; what they returned."""
    barrier = threading.Barrier(len(jobs))
    results: list[Result] = []
    errors: list[BaseException] = []

    def work(job: Callable[[Shop], Result]) -> None:
        own = twin(shop)
        try:
            with own.engine.connect():
                barrier.wait(timeout=30)
            results.append(job(own))
        except BaseException as error:  # noqa: BLE001 - a thread's error is the test's
            errors.append(error)
        finally:
            own.engine.dispose()

    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    return results
