"""What a reader of a journal of changed rows learns, however long ago it read."""

from __future__ import annotations

from fogbank.placement.journal import Journal


def test_a_reader_learns_what_changed_since_it_read() -> None:
    journal = Journal()
    journal.note_all([1, 2])
    read = journal.end
    journal.note_all([3, 1])
    assert journal.since(read) == [3, 1]
    assert journal.since(journal.end) == []
    assert journal.since(-1) is None, "who never read has to look at everything"


def test_what_is_lately_changed_is_kept_however_much_changes() -> None:
    journal = Journal()
    for first in range(0, 300_000, 1_000):
        read = journal.end
        journal.note_all(range(first, first + 1_000))
        assert journal.since(read) == [*range(first, first + 1_000)]
        if read >= 50_000:
            assert journal.since(read - 50_000) == [*range(read - 50_000, first + 1_000)]
    assert journal.since(0) is None
    journal.note_all(range(200_000))
    assert journal.since(journal.end - 1) == [199_999]
