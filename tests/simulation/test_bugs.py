"""The simulation finds mistakes: each one planted, each one seen.

The seeds are those at which a mistake was first found; a change of the code or of the workload may
move that, so the next ones count too.
"""

SEEDS_TRIED = 25
FIRST_SEEN = {
    "ack-as-effect": 1,
    "ack-before-durable": 1,
    "broken-never-replaced": 1,
    "checkpoint-outside-the-transaction": 1,
    "clash-accepted": 1,
    "clock-unchecked": 20,
    "containers-not-looked-for": 2,
    "dedupe-by-window-only": 1,
    "deleted-runs-on": 1,
    "disk-not-synced": 2,
    "expectation-ignored": 1,
    "falling-states-taken-in": 1,
    "leader-for-ever": 3,
    "lost-nodes-never-replaced": 7,
    "memory-not-booked": 1,
    "new-ids-when-repeated": 1,
    "placed-in-part": 1,
    "prev-unchecked-by-a-gateway": 1,
    "prev-unchecked-by-a-scheduler": 1,
    "prev-unchecked-by-all": 1,
    "prev-unchecked-by-ledgers": 1,
    "reader-skips-after-an-outage": 1,
    "report-numbers-unchecked": 1,
    "reports-not-repeated": 12,
    "retry-with-new-bytes": 1,
    "returned-never-settled": 8,
    "room-released-before-the-end": 1,
    "room-unnoticed": 1,
    "session-deaf-to-the-fold": 1,
}
