"""A second opinion on a log: reads it from its first commit and says what must not be there.

Shares no code with the folds, the codec or the placement core, so that a mistake in those does
not hide itself. It knows the rules of docs/architecture.md and keeps a small state of its own.
Pure: bytes in, a report out.
"""

from fogbank.checker.acknowledged import Acknowledged, parse_acknowledged
from fogbank.checker.check import LogChecker, LogCommit, check_log
from fogbank.checker.report import Counts, Report, Rule, Violation

__all__ = [
    "Acknowledged",
    "Counts",
    "LogChecker",
    "LogCommit",
    "Report",
    "Rule",
    "Violation",
    "check_log",
    "parse_acknowledged",
]
