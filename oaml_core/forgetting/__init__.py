"""Forget a person: from data sets, checkpoints, reports, galleries and caches, with a signed receipt.

`forget.forget` asks every place in `places` what it has of the person, and lets each remove that in an order that
can be begun again after any kill.
"""

__all__ = [
    "forget",
    "person",
    "place",
    "receipt",
]
