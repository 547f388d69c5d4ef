"""Reading the pickles of SB3's files without executing them.

A pickle is a program: it names callables and calls them. `read` runs it with inert stand-ins
instead. Each class that the file names becomes a `Record`, which only notes what it was given;
arrays and numbers are rebuilt by functions of this module; every name that is not in `allow_list`
is refused. So nothing of the file, and nothing of the packages it names, is ever called.

`to_value`, `to_space` and `to_class` then turn records into what they describe. Files of old
versions (`gym`, NumPy 1) read like new ones, because only the fields of the records count.
"""

from __future__ import annotations

import importlib
import io
import pickle
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from sb3_il_plus.errors import FileError
from sb3_il_plus.experts.allow_list import REMEDY, SPACES, path_of, refusal

T = TypeVar("T")

_NUMERIC = "biuf"


class UnsafeFileError(FileError):
    """A pickle that asks for what is not on the allow-list; reading it would be executing it."""


class Record:
    """Stands for an object of the file: its class's name, its arguments and its state."""

    path = ""
    """`"module:Class"` of the class it stands for."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Record:
        """Note the arguments of the call that the file makes."""
        record = super().__new__(cls)
        record.args, record.state = args, {}
        return record

    args: tuple[Any, ...]
    state: Any

    def __setstate__(self, state: Any) -> None:
        # Slots come as a second dict.
        self.state = state[0] if isinstance(state, tuple) and len(state) == 2 else state

    def field(self, *names: str, default: Any = None) -> Any:
        """The first of `names` (several, where versions disagree) that the state has."""
        if not isinstance(self.state, dict):
            raise FileError(f"the state of {self.path} is damaged")
        return next((self.state[name] for name in names if name in self.state), default)


class _Array(Record):
    path = "numpy:ndarray"

    def __setstate__(self, state: Any) -> None:
        # (version, shape, dtype, Fortran order, bytes)
        *_, shape, dtype, fortran, content = state
        self.args = (content, dtype, shape, "F" if fortran else "C")


def _empty_array(kind: Any, shape: Any, typecode: Any) -> _Array:
    return _Array()


def _array_from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    return _Array(content, dtype, shape, order)


def _scalar(dtype: Any, content: Any = b"") -> _Array:
    return _Array(content, dtype, (), "C")


def _bytes_of_text(text: Any, encoding: Any) -> bytes:
    # How Python 3 writes bytes with pickle protocol 2.
    if not (isinstance(text, str) and encoding == "latin1"):
        raise FileError("a text of the file is damaged")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    # How pickle protocol 2 writes b"".
    return b""


_FUNCTIONS: dict[str, Any] = {
    "numpy.core.multiarray:_reconstruct": _empty_array,
    "numpy.core.multiarray:scalar": _scalar,
    "numpy.core.numeric:_frombuffer": _array_from_buffer,
    "_codecs:encode": _bytes_of_text,
    "collections:OrderedDict": dict,
    "collections:deque": deque,
    "builtins:bytes": _empty_bytes,
    "builtins:set": set,
    "builtins:frozenset": frozenset,
}
"""What is called, and by what it is replaced."""

_CLASS_KINDS = (
    ("stable_baselines3.", (BasePolicy, BaseFeaturesExtractor)),
    ("sb3_contrib.", (BasePolicy, BaseFeaturesExtractor)),
    ("imitation.policies.", (BaseFeaturesExtractor,)),
    ("imitation.util.networks:", (th.nn.Module,)),
    ("torch.nn.", (th.nn.Module,)),
    ("torch.optim", (th.optim.Optimizer,)),
)
"""Which classes are looked up, and what they must be."""


def read(content: bytes, where: str, convert: Callable[[Any], T]) -> T:
    """Run a pickle on stand-ins and turn the result into what it describes.

    :param content: the pickle
    :param where: the file, and the entry in it, for messages
    :param convert: `to_value`, `to_space`, `to_class`, or a function of one's own; it is given
        plain values, with a `Record` for each object and a `Record` subclass for each class
    :raises UnsafeFileError: it names something outside the allow-list
    :raises FileError: it is damaged, or describes something else
    """
    try:
        return convert(_Unpickler(content).load())
    except FileError as error:
        raise type(error)(f"{where}: {error}") from error
    except Exception as error:  # damaged pickles raise all kinds
        raise FileError(f"{where} is damaged: {type(error).__name__}: {error}") from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._stand_ins: dict[str, type[Record]] = {}

    def find_class(self, module: str, name: str) -> Any:
        path = path_of(module, name)
        if path in _FUNCTIONS:
            return _FUNCTIONS[path]
        if path == _Array.path:
            return _Array
        if reason := refusal(module, name):
            raise UnsafeFileError(reason)
        if path not in self._stand_ins:
            self._stand_ins[path] = type("Record", (Record,), {"path": path})
        return self._stand_ins[path]

    def persistent_load(self, pid: Any) -> Any:
        raise FileError("it refers to objects outside itself")


def to_value(raw: Any) -> Any:
    """Turn records into arrays, spaces and classes, through lists and dicts.

    :raises FileError: a record describes none of these
    """
    if isinstance(raw, dict):
        return {to_value(key): to_value(item) for key, item in raw.items()}
    if isinstance(raw, (list, tuple, set, frozenset, deque)):
        kind = list if isinstance(raw, deque) else type(raw)
        return kind(to_value(item) for item in raw)
    if isinstance(raw, type) and issubclass(raw, Record):
        return to_class(raw)
    if isinstance(raw, _Array):
        return _to_array(raw)
    if isinstance(raw, Record):
        if raw.path in SPACES:
            return to_space(raw)
        if raw.path == "torch:device":
            return "auto"
        raise UnsafeFileError(f"an object of {raw.path} is not expected here; {REMEDY}")
    return raw


def to_class(record: Any) -> type:
    """Look up a class that the file names: a policy, features extractor, activation, optimizer.

    :raises FileError: there is no such class, or it is of another kind
    """
    if not (isinstance(record, type) and issubclass(record, Record)):
        raise FileError(f"a class is expected, not {type(record).__name__}")
    module, _, name = record.path.partition(":")
    for prefix, bases in _CLASS_KINDS:
        if record.path.startswith(prefix):
            try:
                found = getattr(importlib.import_module(module), name, None)
            except ImportError:
                found = None
            if isinstance(found, type) and issubclass(found, bases):
                return found
    raise FileError(f"{record.path} is no policy, features extractor, activation or optimizer")


def to_space(record: Any) -> spaces.Space:
    """Build the gymnasium space that a record (of `gym` or `gymnasium`) describes.

    :raises FileError: it describes none
    """
    if not isinstance(record, Record) or record.path not in SPACES:
        raise FileError(
            f"a space is expected, not {getattr(record, 'path', type(record).__name__)}"
        )
    kind = record.path.partition(":")[2]
    try:
        return _build_space(kind, record)
    except (AssertionError, AttributeError, TypeError, ValueError) as error:
        raise FileError(f"the {kind} space is damaged: {error}") from error


def _build_space(kind: str, record: Record) -> spaces.Space:
    if kind == "Box":
        low, high = (to_value(record.field(name)) for name in ("low", "high"))
        return spaces.Box(low, high, low.shape, _to_dtype(record.field("dtype")).type)
    if kind == "Discrete":
        n, start = record.field("n"), record.field("start", default=0)
        return spaces.Discrete(int(to_value(n)), start=int(to_value(start)))
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(to_value(record.field("nvec")))
    if kind == "MultiBinary":
        n = to_value(record.field("n"))
        return spaces.MultiBinary(int(n) if np.ndim(n) == 0 else [int(size) for size in n])
    inner = record.field("spaces")
    if kind == "Dict":
        # An ordered dict keeps the order of the file; gymnasium sorts a plain one.
        return spaces.Dict(OrderedDict((str(key), to_space(item)) for key, item in inner.items()))
    return spaces.Tuple([to_space(item) for item in inner])


def _to_array(record: _Array) -> Any:
    """Rebuild an array, or a NumPy scalar from one without axes, from its bytes."""
    try:
        content, dtype, shape, order = record.args
        if isinstance(content, str):  # written by Python 2
            content = content.encode("latin1")
        flat = np.frombuffer(content, _to_dtype(dtype))
        array = flat.reshape(shape, order=order).copy()
    except (TypeError, ValueError) as error:
        raise FileError(f"an array of the file is damaged: {error}") from error
    return array if array.ndim else array[()]


def _to_dtype(record: Any) -> np.dtype:
    """The dtype that a record stands for; only numbers have one."""
    if isinstance(record, type) and issubclass(record, Record):  # such as numpy.float32
        name = record.path.partition(":")[2]
    elif isinstance(record, Record) and record.args:
        name = record.args[0]
        if isinstance(record.state, tuple) and len(record.state) > 1:
            name = f"{str(record.state[1]).replace('|', '')}{name}"
    else:
        name = record
    try:
        dtype = np.dtype(name)
    except TypeError as error:
        raise FileError(f"a dtype of the file is damaged: {error}") from error
    if dtype.kind not in _NUMERIC or dtype.names is not None:
        raise FileError(f"an array of the file has dtype {dtype}, which is not a number")
    return dtype
