"""Celery's settings: data only, each with its reason. Broker address and credentials come from worker/settings.py.

Verified against celery 5.7.0, kombu 5.7.0, RabbitMQ 3.10.
"""

from kombu import Exchange, Queue

# ---- queues ---------------------------------------------------------------------------------------------------------

_payments = Exchange("paidonce", "direct", durable=True)
_dead_letters = Exchange("paidonce.dlx", "direct", durable=True)

#: Where RabbitMQ puts what was rejected or came back too often: kept whole, with no time limit, for a person.
QUARANTINE = Queue(
    "paidonce.quarantine",
    _dead_letters,
    "quarantine",
    queue_arguments={"x-queue-type": "quorum"},
)

#: What the outbox announces; whoever wants to know binds a queue to it. Durable, and empty by itself: docs/outbox.md.
EVENTS = Exchange("paidonce.events", "topic", durable=True)

task_queues = (
    Queue(
        "paidonce.apply",
        _payments,
        "apply",
        queue_arguments={
            # Declared here and not by policy: Celery detects quorum queues by their declared arguments alone.
            "x-queue-type": "quorum",
            # The second fence: attempts are counted in PostgreSQL. RabbitMQ counts a lost connection as a delivery of
            # all that was in hand, so at 50 a bad hour's resets quarantined packs that nobody had run.
            "x-delivery-limit": 1000,
            "x-dead-letter-exchange": "paidonce.dlx",
            "x-dead-letter-routing-key": "quarantine",
            # Re-published to the quarantine with confirms; needs reject-publish.
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        },
    ),
    # Beat's own: idempotent and repeated, so that the oldest may go when the workers are away for hours.
    Queue("paidonce.chores", _payments, "chores", queue_arguments={"x-max-length": 100}),
)
task_default_queue = "paidonce.chores"
task_default_exchange = "paidonce"
task_default_routing_key = "chores"
#: A typo in a queue's name must fail, not make a queue that nobody reads.
task_create_missing_queues = False

task_routes = {
    "tasks.apply_notifications": {"queue": "paidonce.apply", "routing_key": "apply"},
    # Never published: the worker's own name for packs that it has gathered.
    "tasks.apply_packs": {"queue": "paidonce.apply", "routing_key": "apply"},
    "tasks.*": {"queue": "paidonce.chores", "routing_key": "chores"},
}
imports = (
    "tasks.apply_notifications",
    "tasks.redrive",
    "tasks.expire_overdue",
    "tasks.purge",
    "tasks.relay_outbox",
    "tasks.watch_packs",
)

# ---- acknowledgement ------------------------------------------------------------------------------------------------

#: Acknowledged after COMMIT.
task_acks_late = True
#: Otherwise a killed child's message is acknowledged and lost.
task_reject_on_worker_lost = True
#: Otherwise the hard time limit acknowledges.
task_acks_on_timeout = False
#: An exception that leaves the task rejects to the quarantine. What can be tried again never leaves the task.
task_acks_on_failure = False
#: It would publish anew and acknowledge: a window for a loss. Redelivery is what we want.
task_retry_on_worker_lost = False
#: A child's death is known after this many seconds instead of 10.
worker_lost_wait = 5

# ---- messages -------------------------------------------------------------------------------------------------------

#: No pickle: whoever can publish could run code.
accept_content = ["json"]
task_serializer = "json"
#: Nobody waits for results; the truth is in the database.
result_backend = None
task_ignore_result = True
#: Arguments are raw notifications: they stay out of events and logs.
task_send_sent_event = False
worker_send_task_events = False
resultrepr_maxsize = 64

# ---- limits ---------------------------------------------------------------------------------------------------------

#: PostgreSQL gives up first (statement_timeout 5 s, lock_timeout 2 s). These only bound the wait for an absent database
#: (PAIDONCE_DATABASE_PATIENCE_SECONDS, 600) and stay under RabbitMQ's consumer_timeout of 1,800 s.
task_soft_time_limit = 780
task_time_limit = 840
#: Packs per child in hand, so that small ones can be gathered (worker/gathering.py). At most 1 MiB each; when
#: the worker dies all of them are redelivered.
worker_prefetch_multiplier = 128
#: A bound on leaks; recycling often has been a source of hangs (celery#3085).
worker_max_tasks_per_child = 10_000
worker_max_memory_per_child = 300_000

# ---- connection -----------------------------------------------------------------------------------------------------

#: Finds a hung node in seconds; the default is 120.
broker_heartbeat = 20
broker_connection_timeout = 2
#: Survive a broker that starts later, and one that stays away.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
broker_channel_error_retry = True
broker_pool_limit = 2
#: A task of milliseconds is not worth killing in the middle of its transaction.
worker_cancel_long_running_tasks_on_connection_loss = False
#: The remote control needs fanout and can stop workers: the database and the queue tell more.
worker_enable_remote_control = False
task_publish_retry_policy = {"max_retries": 1, "interval_start": 0, "interval_max": 0.2}

# ---- worker ---------------------------------------------------------------------------------------------------------

#: Keeps undecodable and unknown messages instead of acknowledging them.
worker_consumer = "worker.quarantine:Consumer"
#: Our own logging has the allow-list.
worker_hijack_root_logger = False
timezone = "UTC"

# ---- beat -----------------------------------------------------------------------------------------------------------

#: No file to be corrupted by a kill: every entry is an interval, and running one early is harmless.
beat_scheduler = "celery.beat:Scheduler"
beat_max_loop_interval = 1

#: Each task takes an advisory lock and is idempotent, so several beats are safe. Their queue bounds what piles up while
#: no worker runs; `expires` would compare beat's clock with the worker's, and a worker ten seconds ahead runs nothing.
#: worker/app.py gives them a clock that is never set back.
beat_schedule = {
    # As late as this the rest of the shop hears of a payment. A run that finds nothing is one query by a partial index.
    "relay-outbox": {"task": "tasks.relay_outbox", "schedule": 1.0},
    "redrive": {"task": "tasks.redrive", "schedule": 2.0},
    "expire-overdue": {"task": "tasks.expire_overdue", "schedule": 60.0},
    "watch-packs": {"task": "tasks.watch_packs", "schedule": 15.0},
    "purge": {"task": "tasks.purge", "schedule": 60.0},
}
