"""Notices damage in a write-ahead log of SQLite, which SQLite itself takes for its end.

The file's format is at https://www.sqlite.org/fileformat2.html#walformat: a header of 32 bytes,
then frames, each 24 bytes and a page. Frames carry the header's salt and a checksum that runs on
from frame to frame. SQLite goes by the commits before the first frame that does not fit. That is
right for a commit that a crash left unfinished: it is the only one after that frame. More of them
were synced, one after the other, and are lost by damage before them.
"""

from __future__ import annotations

import struct

_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_LITTLE_ENDIAN, _BIG_ENDIAN = 0x377F0682, 0x377F0683
_WORD = 0xFFFFFFFF


def damage_in(data: bytes) -> str:
    """Return what is wrong with the content of a write-ahead log; empty if nothing is.

    A file that was written without syncing may look damaged after a power cut.
    """
    if len(data) <= _HEADER_BYTES:
        return ""
    magic, _, page_bytes, _ = struct.unpack_from(">4I", data)
    if magic not in {_LITTLE_ENDIAN, _BIG_ENDIAN}:
        return "is damaged in its header"
    order = "<" if magic == _LITTLE_ENDIAN else ">"
    running = _checksum(data[:24], order, (0, 0))
    if running != struct.unpack_from(">2I", data, 24):
        return "is damaged in its header"
    frame_bytes = _FRAME_HEADER_BYTES + page_bytes
    starts = range(_HEADER_BYTES, len(data) - frame_bytes + 1, frame_bytes)
    # Others are of an earlier round through the file.
    ours = [start for start in starts if data[start + 8 : start + 16] == data[16:24]]
    for start in range(_HEADER_BYTES, max(ours, default=0) + 1, frame_bytes):
        frame = data[start : start + frame_bytes]
        running = _checksum(frame[:8] + frame[_FRAME_HEADER_BYTES:], order, running)
        if frame[8:16] != data[16:24] or running != struct.unpack_from(">2I", frame, 16):
            # Where commits have the number of pages, other frames have 0.
            commits = [each for each in ours if each >= start and any(data[each + 4 : each + 8])]
            is_damaged = len(commits) > 1
            return f"is damaged at byte {start}, and goes on after it" if is_damaged else ""
    return ""


def _checksum(content: bytes, order: str, running: tuple[int, int]) -> tuple[int, int]:
    first, second = running
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & _WORD
        second = (second + odd + first) & _WORD
    return first, second
