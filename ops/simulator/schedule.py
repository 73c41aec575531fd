"""In which order the deliveries leave: copies at once and copies late, everything shuffled, forgeries in between."""

from collections.abc import Sequence
from random import Random

from ops.simulator.forgery import WAYS
from ops.simulator.parcel import Parcel
from ops.simulator.workload import SimulatedOrder

#: Of the repeated deliveries this share leaves together with the first one.
AT_ONCE = 1 / 3
#: A refund follows its payment by so many orders, where nothing is shuffled.
REFUND_AFTER = 20


def genuine_parcels(orders: Sequence[SimulatedOrder], seed: int) -> list[Parcel]:
    """Every notification of the orders, in the order in which it happened."""
    numbered = [
        (index + REFUND_AFTER * nth, Parcel(order.dialect, notice))
        for index, order in enumerate(orders)
        for nth, notice in enumerate(order.notices(seed))
    ]
    return [parcel for _, parcel in sorted(numbered, key=lambda pair: pair[0])]


def schedule(parcels: Sequence[Parcel], *, duplicates: int, reorder: bool, forged: float, seed: int) -> list[Parcel]:
    """The deliveries in sending order: each parcel `duplicates` times, and a share `forged` of forgeries on top."""
    dice = Random(f"schedule:{seed}")
    total = len(parcels)
    timed: list[tuple[float, Parcel]] = []
    for index, parcel in enumerate(parcels):
        first = dice.random() * total if reorder else float(index)
        timed.append((first, parcel))
        for _ in range(duplicates - 1):
            late = 0.0 if dice.random() < AT_ONCE else dice.random() * total / 4
            timed.append((first + late, parcel))
    for number in range(round(forged * len(timed))):
        model = dice.choice(parcels)
        forgery = Parcel(model.dialect, model.notice, WAYS[number % len(WAYS)])
        timed.append((dice.random() * total, forgery))
    return [parcel for _, parcel in sorted(timed, key=lambda pair: pair[0])]
