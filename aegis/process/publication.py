"""The configuration in force, as the control process gives it to the workers, those that start later too."""

import os

import msgspec


class Publication(msgspec.Struct, frozen=True):
    """What a worker needs: the file's text (checked; "" = as at start), vetted addresses, each backend's slot."""

    text: str
    addresses: dict[str, tuple[tuple[str, int], ...]]
    slots: dict[str, int]


class Pages:
    """Two of them, written in turn: whoever reads the one in force is never in the way of who writes the next."""

    def __init__(self) -> None:
        self._descriptors = [os.memfd_create(f"aegis-page-{number}", os.MFD_CLOEXEC) for number in range(2)]

    def __repr__(self) -> str:
        return f"<Pages {self._descriptors}>"

    def write(self, generation: int, publication: Publication) -> None:
        """Before the generation is in force. One process writes."""
        data = msgspec.json.encode(publication)
        descriptor = self._descriptors[generation % 2]
        os.ftruncate(descriptor, len(data))
        os.pwrite(descriptor, data, 0)

    def read(self, generation: int) -> Publication:
        """Raises ValueError when it is being replaced by the next but one: then there is a newer one to read."""
        descriptor = self._descriptors[generation % 2]
        data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        return msgspec.json.decode(data, type=Publication)
