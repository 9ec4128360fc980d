"""Pickles read without any of their code: every object becomes a record of what its code would be handed.

A pickle is a small program: it names classes and functions, and has them called. Here no name is ever looked
up, and so nothing can be called: each name becomes a class of its own that does nothing but take notes.

A few bytes of a pickle can ask for much: what they refer to is kept once and never copied, and objects are
counted.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, ClassVar, TypeGuard

# What Python 2 called them; files of protocol 2 still do.
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}
# Functions that make an object of the class which they are handed first.
_MAKERS = ("copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__")
_KEYS = (str, int, float, bool, bytes, type(None))
DICT, _ORDERED = "builtins.dict", "collections.OrderedDict"
# Of a pickle, entries of mappings among them, but no numbers or texts of lists. More with the size of a file.
_MOST_OBJECTS, _BYTES_OF_ONE = 2_000_000, 64
ENCODE, _LONGEST_KEY = "_codecs.encode", 32  # what makes bytes of texts below protocol 3; they may be keys
_MOST_NAMES, _LONGEST_NAME = 10_000, 1000


class Noted:
    """An object of a pickle: the name of its code, and what is to be handed to it.

    Attributes:
        code: module and name of the class or function.
        args: of the call that would make the object.
        state: that would be restored in it.
        entries: that would be put into it, where it is a mapping.
    """

    __slots__ = ("args", "entries", "state")
    code: ClassVar[str] = DICT

    def __init__(self, args: tuple[Any, ...] = ()) -> None:
        self.args, self.state = args, None
        self.entries: dict[Any, Any] = {}

    def __setitem__(self, key: Any, value: Any) -> None:
        # To hash a tuple of a million nested ones would end the process; a long number is hashed every time.
        fine = type(key) in _KEYS and not (type(key) is int and key.bit_length() > 63)
        self.entries[key if fine else f"{type(key).__name__} {len(self.entries)}"] = value

    def append(self, value: Any) -> None:
        """Items of lists are passed over."""

    def extend(self, values: Any) -> None:
        """Items of lists are passed over."""

    def add(self, value: Any) -> None:
        """Items of sets are passed over."""


@dataclass(frozen=True)
class Kept:
    """What a pickle says of numbers that lie beside it.

    Attributes:
        code: name of their type.
        key: under which they lie there.
        start: of the part that is meant, in numbers.
    """

    code: str
    key: str
    start: int


def name_of(value: object) -> str:
    """The code of a noted object, or of a noted class itself; "" where it is neither."""
    if isinstance(value, Noted) and value.code in _MAKERS and value.args:
        return name_of(value.args[0])
    return value.code if isinstance(value, Noted) or _is_class(value) else ""


def called(of: object, args: object) -> Noted:
    """What a call is noted as; UnpicklingError where it is none."""
    if not isinstance(args, tuple):
        raise pickle.UnpicklingError("a call whose arguments are no tuple")
    if _is_class(of):
        return of(args)
    if isinstance(of, Noted):  # what would be made by calling an object is noted as that object
        return of
    raise pickle.UnpicklingError("a call of what is no code")


def _is_class(value: object) -> TypeGuard[type[Noted]]:
    return isinstance(value, type) and issubclass(value, Noted)


def entries_of(value: object) -> dict[Any, Any] | None:
    """What a mapping holds; None for what is none, as far as can be told without its code."""
    if not isinstance(value, Noted):
        return None
    return value.entries if value.entries or value.code in (DICT, _ORDERED) else None


def _counted(
    step: Callable[[Notes], None], objects: Callable[[Notes], int] = lambda _: 1
) -> Callable[[Notes], None]:
    def counted(notes: Notes) -> None:
        notes._count(objects(notes))
        step(notes)

    return counted


# The unpickler in Python: the one in C takes memory for as many objects as a file says that it has.
class Notes(pickle._Unpickler):
    """Reads one pickle of a file.

    Args:
        size: of the whole file, in bytes: a large one may have more objects.
        encoding: of Python 2's texts; "bytes": they stay bytes.

    Attributes:
        kept: all that lies beside it.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: IO[bytes], size: int = 0, encoding: str = "utf-8") -> None:
        super().__init__(file, encoding=encoding, errors="replace")
        self._classes: dict[str, type[Noted]] = {}
        self._most, self._objects = _MOST_OBJECTS + size // _BYTES_OF_ONE, 0
        self.kept: list[Kept] = []

    @property
    def codes(self) -> tuple[str, ...]:
        """Names of all classes and functions, in the order in which they came."""
        return tuple(self._classes)

    def load(self) -> Any:
        """What the pickle makes, of `Noted` and `Kept`; a damaged one can raise anything at all."""
        try:
            return super().load()
        except MemoryError:
            raise ValueError("a length beyond the file") from None

    def find_class(self, module: str, name: str) -> type[Noted]:
        """A class of its own for each name, so that nothing a file does to one outlives the file."""
        if len(module) + len(name) > _LONGEST_NAME:
            raise pickle.UnpicklingError(f"a name of more than {_LONGEST_NAME} characters")
        code = f"{_RENAMED.get(module, module)}.{name}"
        if code not in self._classes:
            if len(self._classes) >= _MOST_NAMES:
                raise pickle.UnpicklingError(f"more than {_MOST_NAMES} names of code")
            self._classes[code] = type("Noted", (Noted,), {"__slots__": (), "code": code})
        return self._classes[code]

    def persistent_load(self, pid: Any) -> Any:
        """Notes what lies beside the pickle; of a module's class, which old files name so, the class.

        Source: what `torch.save` hands to `persistent_id`: kind, class, key, device, size and, once, a view.
        """
        self._count()
        kind, one, key, *rest = pid if isinstance(pid, tuple) and len(pid) > 2 else (None,) * 3
        if kind == "module":
            return one
        view = rest[2] if len(rest) > 2 and isinstance(rest[2], tuple) else (None, 0)
        self.kept.append(Kept(name_of(one), key if type(key) is str else "", view[1]))
        return self.kept[-1]

    def _count(self, more: int = 1) -> None:
        self._objects += more
        if self._objects > self._most:
            raise pickle.UnpicklingError(f"more than {self._most} objects")

    def _call(self, of: object, args: object) -> None:
        self._count()
        made = called(of, args)
        first = made.args[0] if made.args else None
        if made.code == ENCODE and type(first) is str and len(first) <= _LONGEST_KEY:
            self.append(first.encode("latin1", "replace"))
            return
        self.append(made)
        if made.code == _ORDERED and isinstance(first, list):  # as Python 2 wrote it
            self._count(len(first))
            for pair in first:
                if isinstance(pair, list | tuple) and len(pair) == 2:
                    made[pair[0]] = pair[1]

    def _make(self) -> None:
        args, of = self.stack.pop(), self.stack.pop()
        self._call(of, args)

    def _make_with_options(self) -> None:
        options, args, of = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self._call(of, (args, options))

    def _instantiate(self, of: object, args: list[Any]) -> None:  # asked for by the codes INST and OBJ
        self._call(of, tuple(args))

    def _build(self) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Noted):  # else a class, which stays as it is
            self.stack[-1].state = state

    def _push(self) -> None:
        self._count()
        self.append(Noted())

    def _push_set(self) -> None:
        self.pop_mark()
        self._push()

    def _push_dict(self) -> None:
        items = self.pop_mark()
        self._push()
        self._count(len(items) // 2)
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][key] = value

    dispatch[pickle.REDUCE[0]] = dispatch[pickle.NEWOBJ[0]] = _make
    dispatch[pickle.NEWOBJ_EX[0]] = _make_with_options
    dispatch[pickle.BUILD[0]] = _build
    # No dict or set of Python's own: see `Noted.__setitem__`.
    dispatch[pickle.EMPTY_DICT[0]] = dispatch[pickle.EMPTY_SET[0]] = _push
    dispatch[pickle.FROZENSET[0]] = _push_set
    dispatch[pickle.DICT[0]] = _push_dict
    dispatch[pickle.SETITEMS[0]] = _counted(dispatch[pickle.SETITEMS[0]], lambda notes: len(notes.stack) // 2)


# One byte each, for a hundred bytes of memory.
for _code in (
    *(pickle.EMPTY_LIST, pickle.LIST, pickle.MARK, pickle.SETITEM),
    *(pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
    *(pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE),
):
    Notes.dispatch[_code[0]] = _counted(Notes.dispatch[_code[0]])
