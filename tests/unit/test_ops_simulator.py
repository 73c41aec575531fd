"""The simulator draws the same world from the same seed, repeats and shuffles it, and its forgeries prove nothing."""

import os
from collections import Counter
from pathlib import Path

import pytest

from domain.errors import SignatureInvalid
from domain.event import EventKind
from ops.embedded.place import Place
from ops.embedded.sandbox import make_accounts
from ops.simulator.forgery import WAYS, Forger
from ops.simulator.parcel import FRESH, Parcel
from ops.simulator.schedule import genuine_parcels, schedule
from ops.simulator.workload import SimulatedOrder, draw_orders
from providers.accounts import load_accounts
from providers.dialect import Dialect

NAMES = ("shop-alipay", "shop-hooks", "shop-stripe", "shop-wechat")


@pytest.fixture(scope="module")
def dialects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dialect]:
    """The four sandbox accounts that `paidonce up` makes."""
    place = Place(tmp_path_factory.mktemp("place"))
    place.keys.mkdir()
    make_accounts(place)
    return load_accounts(place.accounts, {})


@pytest.fixture
def drawn(dialects: dict[str, Dialect]) -> list[SimulatedOrder]:
    """Forty orders, half of them refunded."""
    return draw_orders([dialects[name] for name in NAMES], 40, seed=7, refunds=0.5)


def facts(orders: list[SimulatedOrder]) -> list[object]:
    """Everything that must be the same, without the keys."""
    return [(order.row(), order.refund, *order.notices(7)) for order in orders]


def test_the_same_seed_draws_the_same_world(dialects: dict[str, Dialect], drawn: list[SimulatedOrder]) -> None:
    """Order numbers, amounts, ids and times; another seed draws another one."""
    accounts = [dialects[name] for name in NAMES]

    assert facts(drawn) == facts(draw_orders(accounts, 40, seed=7, refunds=0.5))
    assert facts(drawn) != facts(draw_orders(accounts, 40, seed=8, refunds=0.5))
    assert drawn[4].order_no == "SIM-7-shop-alipay-2"


def test_an_order_does_not_depend_on_the_orders_around_it(
    dialects: dict[str, Dialect], drawn: list[SimulatedOrder]
) -> None:
    """More orders, or fewer accounts, leave the drawn ones as they are."""
    alone = draw_orders([dialects["shop-stripe"]], 10, seed=7, refunds=0.5)

    assert facts([order for order in drawn if order.dialect.account == "shop-stripe"]) == facts(alone)


def test_every_dialect_understands_what_is_said(drawn: list[SimulatedOrder]) -> None:
    """Signed, verified and read back, each notice says its order, amount and kind."""
    seen = Counter()
    for order in drawn:
        for notice in order.notices(7):
            delivery = order.dialect.sign(notice, 1000.0)
            assert order.dialect.verify(delivery, 1000.0)
            (event,) = order.dialect.parse(delivery)
            assert (event.notification_id, event.kind, event.order_no, event.amount, event.currency, event.foreign) == (
                notice.notification_id,
                notice.kind,
                order.order_no,
                notice.amount,
                order.currency,
                (),
            )
            seen[order.dialect.provider, notice.kind] += 1
    assert len(seen) == 8
    assert set(seen) >= {("alipay", EventKind.REFUND), ("wechat_v3", EventKind.PAYMENT)}


def test_ids_are_unique(drawn: list[SimulatedOrder]) -> None:
    """No two notices share an id, no two effects a transaction of one kind."""
    notices = [notice for order in drawn for notice in order.notices(7)]

    assert len({notice.notification_id for notice in notices}) == len(notices)
    assert len({(notice.kind, notice.transaction_id) for notice in notices}) == len(notices)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_no_forgery_verifies(dialects: dict[str, Dialect], drawn: list[SimulatedOrder], name: str, way: str) -> None:
    """Another key, a changed amount and a borrowed signature are refused by every dialect."""
    order = next(order for order in drawn if order.dialect.account == name and order.refund)
    forger = Forger()
    for notice in order.notices(7):
        forged = forger.forge(way, dialects[name], notice, 1000.0)
        assert forged != dialects[name].sign(notice, 1000.0)
        with pytest.raises(SignatureInvalid):
            dialects[name].verify(forged, 1000.0)


def test_each_notification_is_sent_as_often_as_asked(drawn: list[SimulatedOrder]) -> None:
    """K copies of each, and a share of forgeries on top."""
    parcels = genuine_parcels(drawn, 7)
    sent = schedule(parcels, duplicates=4, reorder=True, forged=0.1, seed=7)

    genuine = Counter(parcel.key for parcel in sent if not parcel.forged)
    assert genuine == dict.fromkeys((parcel.key for parcel in parcels), 4)
    assert Counter(parcel.forged for parcel in sent if parcel.forged).total() == round(0.1 * 4 * len(parcels))
    assert {parcel.forged for parcel in sent} == {"", *WAYS}


def test_the_schedule_is_drawn_from_the_seed(drawn: list[SimulatedOrder]) -> None:
    """The same seed sends in the same order; shuffled is another order than it happened."""
    parcels = genuine_parcels(drawn, 7)

    def keys(seed: int, reorder: bool) -> list[tuple[str, str]]:
        sent = schedule(parcels, duplicates=2, reorder=reorder, forged=0.1, seed=seed)
        return [parcel.key for parcel in sent]

    assert keys(7, True) == keys(7, True)
    assert keys(7, True) != keys(8, True)
    assert keys(7, True) != keys(7, False)


def test_without_reorder_payments_come_before_their_refunds(drawn: list[SimulatedOrder]) -> None:
    """What happened first is sent first."""
    sent = schedule(genuine_parcels(drawn, 7), duplicates=1, reorder=False, forged=0, seed=7)
    seen: set[str] = set()
    for parcel in sent:
        assert parcel.notice.kind is EventKind.PAYMENT or parcel.notice.order_no in seen
        seen.add(parcel.notice.order_no)


def test_some_copies_leave_at_once_and_some_late(drawn: list[SimulatedOrder]) -> None:
    """Both kinds of duplicates occur: next to the first one, and far behind it."""
    sent = [parcel.key for parcel in schedule(genuine_parcels(drawn, 7), duplicates=2, reorder=True, forged=0, seed=7)]
    apart = [second - sent.index(key) for second, key in enumerate(sent) if sent.index(key) != second]

    assert 1 in apart
    assert max(apart) > 5


def test_a_redelivery_is_signed_anew(dialects: dict[str, Dialect], drawn: list[SimulatedOrder]) -> None:
    """The first redelivery carries a fresh time; later ones reuse it until it is stale."""
    order = next(order for order in drawn if order.dialect.account == "shop-stripe")
    parcel, forger = Parcel(order.dialect, next(order.notices(7))), Forger()

    first, second, third = (parcel.delivery(1000.0 + second, forger) for second in range(3))
    late = parcel.delivery(1001.0 + FRESH + 1, forger)

    assert first.headers != second.headers
    assert second is third
    assert order.dialect.verify(late, 1001.0 + FRESH + 1)


def test_success_is_what_the_provider_takes_for_it(dialects: dict[str, Dialect], drawn: list[SimulatedOrder]) -> None:
    """Alipay insists on its seven letters, Stripe on any 2xx; 503 is success for nobody."""
    parcels = {order.dialect.account: Parcel(order.dialect, next(order.notices(7))) for order in drawn}

    assert parcels["shop-alipay"].is_success(200, b"success")
    assert not parcels["shop-alipay"].is_success(200, b"fail")
    assert parcels["shop-stripe"].is_success(204, b"")
    assert not any(parcel.is_success(503, dialects[name].accepted().body) for name, parcel in parcels.items())


def test_sandbox_accounts_are_made_once_and_kept_from_others(tmp_path: Path) -> None:
    """A second start uses the same keys, which only their owner may read."""
    place = Place(tmp_path)
    place.keys.mkdir()
    make_accounts(place)
    before = {path.name: path.read_bytes() for path in place.keys.iterdir()}
    make_accounts(place)

    assert before == {path.name: path.read_bytes() for path in place.keys.iterdir()}
    assert {path.stat().st_mode & 0o077 for path in place.keys.iterdir()} == {0}
    accounts = load_accounts(place.accounts, os.environ)
    assert sorted(accounts) == list(NAMES)
    assert not any(dialect.live for dialect in accounts.values())
