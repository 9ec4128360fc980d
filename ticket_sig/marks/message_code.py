"""A message as bits that can be read through noise: CRC-32, then a polar code with a list decoder.

The CRC chooses among the paths of the list: Tal, Vardy, "List decoding of polar codes" (2015), section V.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ticket_sig.errors import bad_input
from ticket_sig.marks.polar import PolarCode
from ticket_sig.marks.polar import Signs as Signs

CRC = 4  # bytes
LIST = 32  # paths


@dataclass(frozen=True)
class MessageCode:
    """The code of messages of one length.

    It is the same for ever: what an old version wrote is read by every later one.

    Attributes:
        length: bytes of the message, 1 or more; InputError else.
    """

    length: int

    def __post_init__(self) -> None:
        if self.length < 1:
            raise bad_input("", "message", "1 byte or more", f"{self.length}")

    @property
    def size(self) -> int:
        """Bits of the code, a power of 2: 4 for each bit of message and CRC, or up to twice as many.

        Half as many need 5 % more standard deviations of all bits together; twice as many, 1 to 4 % less
        (benchmarks/message_code.py).
        """
        return 1 << (4 * 8 * (self.length + CRC) - 1).bit_length()

    def encode(self, message: bytes) -> Signs:
        """The code of a message, [size]; InputError where it has another length."""
        if len(message) != self.length:
            raise bad_input("", "message", f"{self.length} bytes", f"{len(message)}")
        data = message + zlib.crc32(message).to_bytes(CRC, "big")
        bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))
        return self.polar.encode(1 - 2 * bits.astype(np.int8))

    def decode(self, soft: NDArray[np.float64], paths: int = LIST) -> bytes | None:
        """The message, None where none is found.

        Noise is taken for a message, or a message for another one, with a chance of about `paths` / 2^32 a
        reading: that the CRC fits one of the paths.

        Args:
            soft: [size], each bit in standard deviations of its noise, or in another unit: a factor common
                to all changes nothing. Positive for 1; 0 where nothing is known.
            paths: of the list: more need less, and take longer (benchmarks/message_code.py).

        Raises:
            InputError: there are more or fewer, or some are not finite.
        """
        if soft.shape != (self.size,):
            raise bad_input("", "soft bits", f"{self.size}", f"{list(soft.shape)}")
        if not np.isfinite(soft).all():
            raise bad_input("", "soft bits", "finite numbers", f"{soft[~np.isfinite(soft)][0]}")
        if not soft.any():
            return None
        scaled = soft / abs(soft).max()  # so that no sum of them is infinite
        for signs in self.polar.decode(scaled[None], paths)[0]:
            data = np.packbits(signs < 0).tobytes()
            message, check = data[: self.length], data[self.length :]
            if zlib.crc32(message).to_bytes(CRC, "big") == check:
                return message
        return None

    @property
    def polar(self) -> PolarCode:
        """The code of message and CRC."""
        return PolarCode(self.size, 8 * (self.length + CRC))
