"""What a pickle in an agent's file may name, and what it does name.

The list is explicit: data, spaces, and classes of policies and their parts. `safe_pickle` reads no
other name, and calls none of these either.
"""

from __future__ import annotations

import pickletools

SPACES = (
    "gymnasium.spaces.box:Box",
    "gymnasium.spaces.discrete:Discrete",
    "gymnasium.spaces.multi_discrete:MultiDiscrete",
    "gymnasium.spaces.multi_binary:MultiBinary",
    "gymnasium.spaces.dict:Dict",
    "gymnasium.spaces.tuple:Tuple",
)

_REPLACED = (
    "numpy.core.multiarray:_reconstruct",
    "numpy.core.multiarray:scalar",
    "numpy.core.numeric:_frombuffer",
    "_codecs:encode",
    "collections:OrderedDict",
    "collections:deque",
    "builtins:bytes",
    "builtins:set",
    "builtins:frozenset",
)
"""Functions and containers; `safe_pickle` has a stand-in of its own for each."""

_NUMPY_SCALARS = (
    *(f"numpy:{name}" for name in ("bool", "bool_", "float16", "float32", "float64")),
    *(f"numpy:{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)

ALLOWED = frozenset(
    (
        *_REPLACED,
        *SPACES,
        *_NUMPY_SCALARS,
        "numpy:ndarray",
        "numpy:dtype",
        "numpy.random.mtrand:RandomState",
        "numpy.random:RandomState",
        "numpy.random._generator:Generator",
        "numpy.random._mt19937:MT19937",
        "numpy.random._pcg64:PCG64",
        "numpy.random.bit_generator:SeedSequence",
        "numpy.random.bit_generator:__pyx_unpickle_SeedSequence",
        "numpy.random._pickle:__randomstate_ctor",
        "numpy.random._pickle:__generator_ctor",
        "numpy.random._pickle:__bit_generator_ctor",
        "gymnasium.utils.seeding:RandomNumberGenerator",
        "gymnasium.utils.seeding:RNG",
        "torch:device",
        "torch.nn.modules.linear:Identity",
        "imitation.policies.base:NormalizeFeaturesExtractor",
        "imitation.util.networks:RunningNorm",
    )
)
"""What a file may name: `"module:name"`, in today's module names."""

ALLOWED_MODULES = (
    "stable_baselines3.",
    "sb3_contrib.",
    "torch.nn.modules.activation",
    "torch.optim",
)
"""Beginnings of modules all of whose classes a file may name."""

REMEDY = (
    "if you trust whoever made the file, load_expert(..., trust=True) reads it with SB3's own "
    "loader, which executes what it holds"
)

_HARMFUL_MODULES = frozenset(
    {
        *("os", "posix", "nt", "sys", "subprocess", "shutil", "pathlib", "tempfile", "signal"),
        *("socket", "urllib", "http", "webbrowser", "asyncio", "threading", "multiprocessing"),
        *("ctypes", "pty", "runpy", "importlib", "code", "pickle", "_pickle", "marshal"),
    }
)
_HARMFUL = frozenset(
    {
        *("builtins:eval", "builtins:exec", "builtins:compile", "builtins:__import__"),
        *("builtins:open", "builtins:input", "builtins:breakpoint", "io:open", "_io:open"),
    }
)
"""Names with which no honest agent was ever saved. These only decide what an error says."""


def is_harmful(asked: str) -> bool:
    """Whether `"module.name"` acts on the computer, as nothing in a saved agent does."""
    module, _, name = asked.rpartition(".")
    path = path_of(module, name)
    return path in _HARMFUL or path.partition(":")[0].partition(".")[0] in _HARMFUL_MODULES


def refusal(module: str, name: str) -> str | None:
    """Why a file may not name `module.name`; None where it may."""
    path = path_of(module, name)
    if path in ALLOWED or path.startswith(ALLOWED_MODULES):
        return None
    if is_harmful(f"{module}.{name}"):
        return (
            f"it refers to {module}.{name}, which acts on the computer; no saved agent needs that, "
            "so the file was probably made to do harm, and is not read"
        )
    return (
        f"it refers to {module}.{name}, which is not on the list of harmless classes, so it is not "
        f"read; {REMEDY}"
    )


def path_of(module: str, name: str) -> str:
    """`"module:name"`, in today's module names."""
    return f"{_modern(module)}:{name}"


_MOVED = {"gym.": "gymnasium.", "numpy._core": "numpy.core", "__builtin__": "builtins"}


def _modern(module: str) -> str:
    """Today's name of a module that has moved."""
    for old, new in _MOVED.items():
        if module.startswith(old):
            return new + module[len(old) :]
    return module


def names_in(content: bytes) -> list[str]:
    """All that a pickle asks for, as `"module.name"`, found without running it.

    :return: in their order, each once; up to where a damaged pickle breaks off
    """
    names: dict[str, None] = {}
    texts: list[str] = []  # pushed so far; `STACK_GLOBAL` takes the last two
    memo: dict[int, str] = {}
    last = ""  # what was pushed last, where that is a text
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "MEMOIZE":
                memo[len(memo)] = last
                continue
            if "PUT" in opcode.name:
                memo[int(str(argument))] = last
                continue
            if opcode.name in ("GLOBAL", "INST"):
                names[str(argument).replace(" ", ".")] = None
            elif opcode.name == "STACK_GLOBAL":
                names[".".join(texts[-2:])] = None
            read = memo.get(int(str(argument))) if "GET" in opcode.name else argument
            last = read if isinstance(read, str) else ""
            if last:
                texts.append(last)
    except Exception:  # damaged pickles raise all kinds
        return list(names)
    return list(names)
