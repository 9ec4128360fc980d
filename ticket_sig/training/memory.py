"""What becomes of freed memory.

In training it stays with the process, in huge pages: a step asks for the same activations again and again. By
default glibc hands large blocks back to the system on every free, and the next step pays for each page anew.
Blocks of 32 MiB and more still go: glibc keeps none of that size. Where a large model is read once, all goes.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from functools import cache

# <malloc.h> and <sys/mman.h>; 32 MiB is the largest threshold that glibc takes.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _MADV_HUGEPAGE = -1, -2, -3, 14
_GIVEN_BACK = 4 << 20  # bytes, from which on a block goes
_LARGEST_MMAP_THRESHOLD, _HUGE_PAGE, _RESERVED = 32 << 20, 2 << 20, 1 << 30


@cache
def keep_freed_memory() -> bool:
    """Tells glibc to keep what is freed, for this process and for good; elsewhere does nothing.

    Address space for 1 GiB is reserved, memory only as it is used. Returns whether glibc took the settings.
    """
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  (other C libraries have no such symbol)
        kept = libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        kept &= libc.mallopt(_M_TRIM_THRESHOLD, -1)  # never
        kept &= libc.mallopt(_M_TOP_PAD, _RESERVED)
        _ask_for_huge_pages(libc)
        libc.mallopt(_M_TOP_PAD, _LARGEST_MMAP_THRESHOLD)
        return bool(kept)
    return False


def give_back_freed_memory() -> None:
    """Tells glibc to hand large blocks back when they are freed, for this process; elsewhere does nothing.

    Left alone it learns to keep blocks as large as the largest that was freed, up to 32 MiB: arrays of a bit
    or a few for each weight of a large model then stay, and come to a third of it.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _GIVEN_BACK)


def _ask_for_huge_pages(libc: ctypes.CDLL) -> None:
    """Grows the heap by the padding at once, so that its pages can be asked for before they are touched."""
    libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
    before = libc.sbrk(0)
    libc.free(ctypes.c_void_p(libc.malloc(ctypes.c_size_t(_LARGEST_MMAP_THRESHOLD // 2))))
    start, end = -(-before // _HUGE_PAGE) * _HUGE_PAGE, libc.sbrk(0)
    if end > start:
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_HUGEPAGE)
