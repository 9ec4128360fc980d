"""A message as bits that can be read through noise: CRC-32, then a code with soft decoding."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Signs = NDArray[np.int8]  # 1 for the bit 0, -1 for the bit 1

CRC = 4  # bytes


@dataclass(frozen=True)
class MessageCode:
    """The code of messages of one length.

    Attributes:
        length: bytes of the message.
    """

    length: int

    @property
    def size(self) -> int:
        """Bits of the code, a power of 2."""
        return 1 << max(8, (4 * 8 * (self.length + CRC) - 1).bit_length())

    def encode(self, message: bytes) -> Signs:
        """The code of a message, [size]."""
        bits = np.unpackbits(
            np.frombuffer(message + zlib.crc32(message).to_bytes(CRC, "big"), dtype=np.uint8)
        )
        return np.asarray(1 - 2 * np.resize(bits, self.size).astype(np.int8))

    def decode(self, soft: NDArray[np.float64]) -> bytes | None:
        """The message, None where none is found.

        Args:
            soft: [size], each bit in standard deviations of its noise; positive for 1.
        """
        k = 8 * (self.length + CRC)
        sums = np.bincount(np.arange(self.size) % k, weights=soft, minlength=k)
        data = np.packbits(sums < 0).tobytes()
        message, check = data[: self.length], data[self.length :]
        return message if zlib.crc32(message).to_bytes(CRC, "big") == check else None
