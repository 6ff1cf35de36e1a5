"""What a function of the user's computes, as text that is the same where it computes the same.

Its instructions, and what they read: the arguments that are bound to it, its defaults, what it closes over, the globals
it names, the state of the object that it belongs to. Of these, functions of the user's are read in the same way; what
is installed (jax, this package) goes by its name.
"""

import copyreg
import dis
import enum
import functools
import hashlib
import pathlib
import pickle
import site
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

_SHOWN = 120  # characters of a value that are shown; of a longer one there is a hash behind them
_PLAIN = (type(None), bool, int, float, complex, str, bytes, types.EllipsisType, pathlib.PurePath)
_FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)
_GLOBAL, _IMPORTED = ("LOAD_GLOBAL", "LOAD_NAME"), "IMPORT_NAME"
_CONTAINERS = (list, tuple, dict, set, frozenset, np.ndarray, np.generic, jax.Array)
_OURS = __name__.partition(".")[0]
_OWN_STATE = (_OURS, "jax", "jaxlib", "functools")  # whose objects keep more than what they are given


class FunctionParts(NamedTuple):
    """What a function computes, in parts that are equal where the parts of two functions are."""

    code: str  # a hash of its instructions, the same for one version of Python
    arguments: str  # bound by `functools.partial`, and the defaults of its parameters
    values: str  # what it reads besides: closed over, global, or of its object


def function_parts(function: Callable[..., Any]) -> FunctionParts:
    """Returns what a function, or an object that can be called, computes.

    >>> parts = [function_parts(functools.partial(jax.nn.leaky_relu, negative_slope=slope)) for slope in (1, 5)]
    >>> parts[0].code == parts[1].code, parts[0].arguments, parts[1].arguments
    (True, 'negative_slope=1', 'negative_slope=5')
    """
    reader = _Reader()
    reader.read(function)
    code = hashlib.sha256("\n".join(reader.code).encode()).hexdigest()[:16]
    return FunctionParts(code, _shown(", ".join(reader.arguments)), _shown(", ".join(reader.values)))


def _shown(text: str) -> str:
    if len(text) <= _SHOWN:
        return text or "none"
    return f"{text[:_SHOWN]} ... ({hashlib.sha256(text.encode()).hexdigest()[:8]})"


class _Reader:
    """Reads functions and what they use; a function that is met again is not read again."""

    def __init__(self) -> None:
        self.code: list[str] = []
        self.arguments: list[str] = []
        self.values: list[str] = []
        self._functions: dict[int, types.FunctionType] = {}  # kept, so that no other object gets the id
        self._classes: list[type] = []
        self._around: list[int] = []  # what the value that is being read is inside of

    def read(self, function: Any) -> str:
        """Adds a function, or an object that can be called; returns what stands for it where it is a value."""
        if isinstance(function, functools.partial):
            self.arguments += [self.text(value) for value in function.args]
            self.arguments += [f"{name}={self.text(value)}" for name, value in sorted(function.keywords.items())]
            return f"partial of {self.read(function.func)}"
        if isinstance(function, types.MethodType):
            self.values.append(self.text(function.__self__))
            return f"method {self.read(function.__func__)}"
        if not isinstance(function, types.FunctionType):
            self.values.append(self.text(function))
            return "object"
        if _is_installed(function):
            return self._read_installed(function)
        if id(function) not in self._functions:
            self._functions[id(function)] = function
            self._read_function(function)
        return f"function {list(self._functions).index(id(function))}"

    def text(self, value: Any) -> str:
        """Returns a value as text; functions in it are added to the code."""
        if isinstance(value, _PLAIN):
            return repr(value)
        if isinstance(value, np.ndarray | np.generic | jax.Array) and not np.asarray(value).dtype.hasobject:
            return _array(np.asarray(value))
        if isinstance(value, types.ModuleType):
            return value.__name__
        if isinstance(value, _FUNCTIONS):
            return self.read(value)
        if isinstance(value, types.BuiltinFunctionType):
            return f"{value.__qualname__} of {self.text(value.__self__)}"
        if isinstance(value, enum.Enum):
            return f"{type(value).__qualname__}.{value.name}={self.text(value.value)}"
        if id(value) in self._around:
            return "itself"
        self._around.append(id(value))
        try:
            return self._class(value) if isinstance(value, type) else self._object(value)
        finally:
            self._around.pop()

    def _object(self, value: Any) -> str:
        cls, items = type(value), self._items(value)
        if items and _is_installed(cls):
            return items
        state = {**_slots(value), **getattr(value, "__dict__", {})}
        if _is_installed(cls):  # as of `jax.jit`, `jax.custom_vjp`: what it keeps for itself is not the user's
            kept = () if _root(cls) in _OWN_STATE else (*_PLAIN, *_CONTAINERS)
            state = {
                name: each
                for name, each in state.items()
                if isinstance(each, kept) or (callable(each) and not _is_installed(each))
            }
            if _root(cls) in sys.stdlib_module_names and _root(cls) not in _OWN_STATE:
                state = {"made of": _made_of(value)}
        inside = [f"{name}={self.text(each)}" for name, each in sorted(state.items())]
        return f"{items}{self.text(cls)}({', '.join(inside)})"

    def _items(self, value: Any) -> str:
        """Returns what is in a container as text, "" where it is not one."""
        if isinstance(value, Mapping):
            return f"{{{', '.join(f'{self.text(key)}: {self.text(each)}' for key, each in value.items())}}}"
        if isinstance(value, set | frozenset):
            return f"{type(value).__name__}({', '.join(sorted(self.text(each) for each in value))})"
        if isinstance(value, list | tuple):
            return f"{type(value).__name__}({', '.join(self.text(each) for each in value)})"
        return f"array{self.text(value.tolist())}" if isinstance(value, np.ndarray) else ""

    def _class(self, cls: type) -> str:
        for base in cls.__mro__:
            if _is_installed(base) or base in self._classes:
                continue
            self._classes.append(base)
            for name, member in sorted(vars(base).items()):
                function = _function_of(member)
                if isinstance(function, _FUNCTIONS):
                    self.read(function)
                elif callable(member) or not (name.startswith("_") and name.endswith("_")):  # those are Python's
                    self.values.append(f"{base.__qualname__}.{name}={self.text(member)}")
        return _name(cls) if _is_installed(cls) else cls.__qualname__

    def _read_installed(self, function: types.FunctionType) -> str:
        """Adds the name of a function, and what it was made of, as `jax.vmap(loss)` is."""
        is_found = getattr(sys.modules.get(function.__module__), function.__qualname__, None) is function
        is_fixed = is_found and _is_of_package(_root(function))  # it is the same in each program
        name = _name(function) if is_fixed else f"{_module_of(function)}.{function.__code__.co_qualname}"
        self.code.append(name)
        if not is_fixed and id(function) not in self._functions:
            self._functions[id(function)] = function
            for cell in function.__closure__ or ():
                held = _contents(cell)
                if isinstance(held, (*_PLAIN, *_FUNCTIONS, tuple)) or (callable(held) and not _is_installed(held)):
                    self.values.append(self.text(held))
        return name

    def _read_function(self, function: types.FunctionType) -> None:
        code, defaults = function.__code__, function.__defaults__ or ()
        last = code.co_varnames[: code.co_argcount][code.co_argcount - len(defaults) :]
        bound = [*zip(last, defaults, strict=True), *sorted((function.__kwdefaults__ or {}).items())]
        self.arguments += [f"{name}={self.text(value)}" for name, value in bound]
        self.code += [f"{each.opname} {_argument(each)}" for each in _instructions(code)]
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            self.values.append(f"{name}={self.text(_contents(cell))}")
        used = list(_instructions(code))
        for name in sorted({each.argval for each in used if each.opname in _GLOBAL}):
            if name in function.__globals__:
                self._read_global(name, function.__globals__[name], used)
        for name in sorted({each.argval for each in used if each.opname == _IMPORTED}):
            if name in sys.modules:
                self._read_global(name, sys.modules[name], used)

    def _read_global(self, name: str, value: Any, used: list[dis.Instruction]) -> None:
        self.values.append(f"{name}={self.text(value)}")
        if isinstance(value, types.ModuleType) and not _is_installed(value) and id(value) not in self._around:
            self._around.append(id(value))
            names = {each.argval for each in used if isinstance(each.argval, str)}
            for each in sorted(names & vars(value).keys()):
                self._read_global(f"{name}.{each}", vars(value)[each], used)
            self._around.pop()


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # of a name that is not bound yet
        return "unbound"


def _instructions(code: types.CodeType) -> Iterator[dis.Instruction]:
    """Yields what a piece of code does and the code inside it, whatever their lines, comments and docstrings are."""
    for each in dis.get_instructions(code):
        yield each
        if isinstance(each.argval, types.CodeType):
            yield from _instructions(each.argval)


def _argument(instruction: dis.Instruction) -> str:
    value = instruction.argval
    if isinstance(value, types.CodeType):
        return "code"
    return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value)


def _function_of(member: Any) -> Any:
    if isinstance(member, property):
        return member.fget
    if isinstance(member, functools.cached_property):
        return member.func
    return member.__func__ if isinstance(member, staticmethod | classmethod) else member


def _slots(value: Any) -> dict[str, Any]:
    names = [vars(cls).get("__slots__", ()) for cls in type(value).__mro__]
    flat = [name for each in names for name in ((each,) if isinstance(each, str) else each)]
    return {name: getattr(value, name, None) for name in flat if not name.startswith("__")}


def _made_of(value: Any) -> Any:
    """Returns what an object of Python's own is made of, as for a copy of it; None for one that cannot be copied."""
    try:
        reduce = copyreg.dispatch_table.get(type(value))
        made = value.__reduce_ex__(2) if reduce is None else reduce(value)
    except (TypeError, pickle.PicklingError):  # a lock, a generator, an open file
        return None
    parts = made if isinstance(made, str) else made[1:]
    return parts if isinstance(parts, str) else [list(each) if isinstance(each, Iterator) else each for each in parts]


def _array(array: np.ndarray) -> str:
    if array.size <= 8:
        return f"{array.dtype}{array.tolist()}"
    content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
    return f"{array.dtype}{list(array.shape)} {content}"


def _is_installed(value: Any) -> bool:
    """Returns whether a function, class, object or module is of Python, a package or ours, not the user's."""
    name = value.__name__ if isinstance(value, types.ModuleType) else _module_of(value)
    return not isinstance(name, str) or _is_of_package(name.partition(".")[0])


def _module_of(value: Any) -> Any:
    """Returns the name of the module that made a value; a function that wraps another says that it is of its module."""
    module = getattr(value, "__module__", None)
    return value.__globals__.get("__name__", module) if isinstance(value, types.FunctionType) else module


@functools.cache
def _is_of_package(root: str) -> bool:
    if root == "__main__" or root not in sys.modules:
        return False
    if root == _OURS or root in sys.stdlib_module_names:
        return True
    folders = (*(sysconfig.get_path(name) for name in ("purelib", "platlib")), site.getusersitepackages())
    module = sys.modules[root]
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
    return file is not None and any(Path(file).resolve().is_relative_to(Path(each).resolve()) for each in folders)


def _root(value: Any) -> str:
    return value.__module__.partition(".")[0]


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
