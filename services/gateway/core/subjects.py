"""Choosing commits by the subject they were appended on, with the broker's own wildcards.

A subject is tokens between dots. In a pattern `*` stands for any one token, `>` at the end for one
or more (NATS documentation, 'Subject-Based Messaging').
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fogbank.domain.errors import InvalidArgumentError

MAX_PATTERNS = 16
MAX_PATTERN_LENGTH = 512
_ONE, _REST = "*", ">"
_TOKEN = re.compile(r"[^\s.*>]+")
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class SubjectFilter:
    """Which subjects were asked for; those that any of the patterns fits, all without one."""

    patterns: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> SubjectFilter:
        """Return the filter of some patterns.

        Raises:
            InvalidArgumentError: one of them is none, or there are too many.
        """
        patterns = tuple(dict.fromkeys(texts))
        if len(patterns) > MAX_PATTERNS:
            raise InvalidArgumentError.of_field(
                "subjects", f"must be at most {MAX_PATTERNS} patterns, were {len(patterns)}"
            )
        return cls(tuple(_tokens(text) for text in patterns))

    def fits(self, subject: str) -> bool:
        """Tell whether a subject was asked for."""
        tokens = subject.split(".")
        return not self.patterns or any(_fits(pattern, tokens) for pattern in self.patterns)


def _tokens(text: str) -> tuple[str, ...]:
    tokens = text.split(".")
    known = all(token == _ONE or _TOKEN.fullmatch(token) for token in tokens[:-1])
    last = tokens[-1] in {_ONE, _REST} or _TOKEN.fullmatch(tokens[-1])
    if len(text) > MAX_PATTERN_LENGTH or not known or not last:
        raise InvalidArgumentError.of_field(
            "subjects",
            "must be tokens between dots, `*` for any one of them, `>` at the end for all that "
            f"follow, at most {MAX_PATTERN_LENGTH} characters, as fogbank.log.*.1.scheduler.>; "
            f"one was {text[:_SHOWN]!r}",
        )
    return tuple(tokens)


def _fits(pattern: tuple[str, ...], tokens: list[str]) -> bool:
    if pattern[-1] == _REST:
        if len(tokens) < len(pattern):
            return False
        pattern = pattern[:-1]
    elif len(tokens) != len(pattern):
        return False
    return all(wanted in {_ONE, token} for wanted, token in zip(pattern, tokens, strict=False))
