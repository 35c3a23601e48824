"""Which worker gets a connection: a program in the kernel (classic BPF) that goes by the client's address.

So every token bucket lives in one process, and limits per client are exact without shared memory or locks.
"""

import ctypes
import socket
import struct
from collections.abc import Mapping
from typing import Final

SO_ATTACH_REUSEPORT_CBPF: Final = 51
NET: Final = 0xFFF00000  # SKF_NET_OFF: offsets from the network header on
GOLDEN: Final = 0x9E3779B1
"""Spreads addresses that follow a pattern: by plain modulo all even ones would go to one of two workers."""

_V4_SOURCE: Final = NET + 12
_V6_FIRST, _V6_SECOND = NET + 8, NET + 12  # the /64, which is the limiter's key too

# struct sock_filter's codes
_LOAD_BYTE, _LOAD_WORD = 0x30, 0x20
_SHIFT, _TIMES, _MODULO, _XOR_X, _TO_X = 0x74, 0x24, 0x94, 0xAC, 0x07
_IF_EQUAL, _RETURN, _RETURN_A = 0x15, 0x06, 0x16

Instruction = tuple[int, int, int, int]


def program(count: int, elsewhere: Mapping[int, int]) -> list[Instruction]:
    """The instructions for so many workers. elsewhere: index → who takes its clients, while it cannot."""
    by_address: list[Instruction] = [
        (_LOAD_BYTE, 0, 0, NET),
        (_SHIFT, 0, 0, 4),  # the version of IP; on a dual-stack listener IPv4 comes with its own header
        (_IF_EQUAL, 0, 2, 4),
        (_LOAD_WORD, 0, 0, _V4_SOURCE),
        (0x05, 0, 0, 4),  # jump to the hash
        (_LOAD_WORD, 0, 0, _V6_FIRST),
        (_TO_X, 0, 0, 0),
        (_LOAD_WORD, 0, 0, _V6_SECOND),
        (_XOR_X, 0, 0, 0),
        (_TIMES, 0, 0, GOLDEN),
        (_SHIFT, 0, 0, 16),
        (_MODULO, 0, 0, count),
    ]
    for index, other in elsewhere.items():
        by_address += [(_IF_EQUAL, 0, 1, index), (_RETURN, 0, 0, other)]
    return [*by_address, (_RETURN_A, 0, 0, 0)]


def steer(member: socket.socket, count: int, elsewhere: Mapping[int, int]) -> None:
    """Attach the program to the group that this socket belongs to, in place of the one before. Raises OSError."""
    code = b"".join(struct.pack("HBBI", *each) for each in program(count, elsewhere))
    buffer = ctypes.create_string_buffer(code, len(code))
    length = len(code) // 8
    member.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, struct.pack("HP", length, ctypes.addressof(buffer)))
