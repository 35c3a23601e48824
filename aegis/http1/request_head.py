"""One whole request head → method, target and block, through the memo. The hot path of the protocol room."""

from typing import Final

from aegis.http1 import block as blocks
from aegis.http1 import request_line
from aegis.http1.block import Block
from aegis.http1.memo import Memo

Head = tuple[str, bytes, Block]

SLASH: Final = ord("/")
HASH: Final = ord("#")


class RequestHeads:
    """Parses heads. Method and target are cut off by own code; the rest, version included, is the memo's key."""

    def __init__(self) -> None:
        self.memo: Memo[Block] = Memo()

    def parse(self, head: bytes) -> Head:
        """(method, target toward the backend, block) of a head without its empty line. Raises Refused."""
        method, _, rest = head.partition(b" ")
        target, _, key = rest.partition(b" ")
        block = self.memo.new.get(key) or self.memo.get(key)  # the first half alone is the hot path
        if block is None:
            line, _, _ = head.partition(b"\r\n")
            request_line.split(line)  # the line is judged before the fields
            block = blocks.parse(key)
            if block.websocket:
                block.settle_method(method)
            else:
                self.memo.offer(key, block)
        name = request_line.METHODS.get(method) or request_line.check_method(method)
        # As check_target would judge it, of the usual form: visible ASCII (there is no space in it), no fragment.
        if not (
            target
            and target[0] == SLASH
            and HASH not in target
            and target.decode("latin-1").isprintable()
            and target.isascii()
        ):
            request_line.split(head.partition(b"\r\n")[0])  # on a hit the line was not looked at as a whole
            target = request_line.check_target(name, target, block.host)
        return name, target, block
