"""Two functions have equal parts where they compute the same, and another part where they do not."""

import collections
import datetime
import decimal
import functools
import operator
import re
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.losses.margin import sigmoid_loss
from easydel.trainers.function_fingerprint import FunctionParts, function_parts


def made(source: str, name: str = "loss", **named: Any) -> Any:
    """What a piece of a user's program defines."""
    program: dict[str, Any] = {"__name__": "__main__", "jnp": jnp, "jax": jax, "functools": functools, **named}
    exec(compile(source, "program.py", "exec"), program)
    return program[name]


HEAD = "def loss(policy, reference, lengths, *, beta):\n"
BODY = "    return beta * policy[:, 0]\n"
HELPER = "def helper(x):\n    return {} * x\n"
CALLING = HEAD + "    return helper(beta * policy[:, 0])\n"
NESTED = HEAD + "    def inner(x):\n        return x + {}\n    return jax.vmap(lambda x: inner(x))(policy[:, 0])\n"
CLASS = (
    "class Loss:\n    scale = {scale}\n    def __init__(self, by):\n        self.by = by\n        self.me = self\n"
    "    def helper(self, x):\n        return x {sign} self.by\n"
    "    def __call__(self, policy, reference, lengths):\n        return self.helper(policy[:, 0]) * self.scale\n"
)
OBJECT = CLASS + "loss = Loss({by})\n"
CLOSURE = (
    "def make(by):\n    def loss(policy, reference, lengths):\n        return by * policy[:, 0]\n    return loss\n"
)
VJP = (
    "@jax.custom_vjp\ndef clipped(x):\n    return x\n"
    "clipped.defvjp(lambda x: (x, None), lambda _, g: (jnp.clip(g, -{0}, {0}),))\n"
    + HEAD
    + "    return clipped(policy[:, 0])\n"
)
JITTED = (
    "class Loss:\n    @functools.partial(jax.jit, static_argnums=0)\n"
    "    def __call__(self, policy, reference, lengths):\n        return policy[:, 0] * {}\nloss = Loss()\n"
)
CACHED = (
    "class Loss:\n    @functools.cached_property\n    def by(self):\n        return {}\n"
    "    def __call__(self, policy, reference, lengths):\n        return policy[:, 0] * self.by\nloss = Loss()\n"
)
OTHER: dict[str, tuple[Any, Any, set[str]]] = {
    "instruction": (made(HEAD + BODY), made(HEAD + BODY.replace("*", "+")), {"code"}),
    "constant": (made(NESTED.format(1)), made(NESTED.format(2)), {"code"}),
    "function that it calls": (
        made(HELPER.format(1) + CALLING),
        made(HELPER.format(2) + CALLING),
        {"code"},
    ),
    "global": (
        made("by = 1\n" + HEAD + "    return by * policy[:, 0]"),
        made("by = 2\n" + HEAD + "    return by * policy[:, 0]"),
        {"values"},
    ),
    "global of a function that it calls": (
        made("by = 1\n" + HELPER.format("by") + CALLING),
        made("by = 2\n" + HELPER.format("by") + CALLING),
        {"values"},
    ),
    "global in code inside it": (
        made("by = 1\n" + NESTED.format("by")),
        made("by = 2\n" + NESTED.format("by")),
        {"values"},
    ),
    "functions that change places": (
        made(
            HELPER.format(1)
            + "helper, other = helper, lambda x: x\n"
            + CALLING.replace("beta *", "beta + other(beta) *")
        ),
        made(
            HELPER.format(1)
            + "helper, other = (lambda x: x), helper\n"
            + CALLING.replace("beta *", "beta + other(beta) *")
        ),
        {"code"},
    ),
    "default": (
        made(HEAD.replace("beta", "beta, by=1.0") + BODY),
        made(HEAD.replace("beta", "beta, by=5.0") + BODY),
        {"arguments"},
    ),
    "positional argument of a partial": (
        functools.partial(made("def loss(by, policy): return by * policy"), 1),
        functools.partial(made("def loss(by, policy): return by * policy"), 5),
        {"arguments"},
    ),
    "keyword of a partial of a partial": (
        functools.partial(functools.partial(made(HEAD + BODY), beta=1.0)),
        functools.partial(functools.partial(made(HEAD + BODY), beta=5.0)),
        {"arguments"},
    ),
    "a function bound to a partial": (
        functools.partial(made("def loss(f, policy): return f(policy)"), made("loss = lambda x: x")),
        functools.partial(made("def loss(f, policy): return f(policy)"), made("loss = lambda x: -x")),
        {"code"},
    ),
    "closure": (made(CLOSURE, "make")(1), made(CLOSURE, "make")(5), {"values"}),
    "array that it closes over": (
        made(CLOSURE, "make")(jnp.arange(100.0)),
        made(CLOSURE, "make")(jnp.arange(100.0).at[50].set(7)),
        {"values"},
    ),
    "dict that it closes over": (
        made(CLOSURE, "make")({"a": [1, 2]}),
        made(CLOSURE, "make")({"a": [1, 3]}),
        {"values"},
    ),
    "lambda": (made("loss = lambda p, r, l: p[:, 0]"), made("loss = lambda p, r, l: p[:, 1]"), {"code"}),
    "state of an object": (
        made(OBJECT.format(scale=1, sign="+", by=1)),
        made(OBJECT.format(scale=1, sign="+", by=2)),
        {"values"},
    ),
    "method of an object": (
        made(OBJECT.format(scale=1, sign="+", by=1)),
        made(OBJECT.format(scale=1, sign="-", by=1)),
        {"code"},
    ),
    "state of the object of a method": (
        made(OBJECT.format(scale=1, sign="+", by=1)).helper,
        made(OBJECT.format(scale=1, sign="+", by=2)).helper,
        {"values"},
    ),
    "inside jax.jit": (jax.jit(made(HEAD + BODY)), jax.jit(made(HEAD + BODY.replace("*", "+"))), {"code"}),
    "gradient of its own": (made(VJP.format(1.0)), made(VJP.format(2.0)), {"code"}),
    "number in a module of the user's": (
        made(HEAD + "    return mine.by * policy[:, 0]\n", mine=types.SimpleNamespace(by=1)),
        made(HEAD + "    return mine.by * policy[:, 0]\n", mine=types.SimpleNamespace(by=2)),
        {"values"},
    ),
    "attribute of the class of an object": (
        made(OBJECT.format(scale=1, sign="+", by=1)),
        made(OBJECT.format(scale=2, sign="+", by=1)),
        {"values"},
    ),
    "attribute of a class that it names": (
        made("class Scale:\n    by = 1\n" + HEAD + "    return Scale.by * policy\n"),
        made("class Scale:\n    by = 2\n" + HEAD + "    return Scale.by * policy\n"),
        {"values"},
    ),
    "attribute of a list of the user's kind": (
        made(CLOSURE, "make")(made("class Bag(list): pass\nloss = Bag([1]); loss.by = 1")),
        made(CLOSURE, "make")(made("class Bag(list): pass\nloss = Bag([1]); loss.by = 2")),
        {"values"},
    ),
    "method that jax compiles": (made(JITTED.format(1)), made(JITTED.format(2)), {"code"}),
    "cached property": (made(CACHED.format(1)), made(CACHED.format(2)), {"code"}),
    **{
        f"what {wrap.__name__} is made of": (
            wrap(made(CLOSURE, "make")(1)),
            wrap(made(CLOSURE, "make")(2)),
            {"values"},
        )
        for wrap in (jax.vmap, jax.checkpoint, jax.grad)
    },
    "axes of jax.vmap": (jax.vmap(made(HEAD + BODY), 0), jax.vmap(made(HEAD + BODY), 1), {"values"}),
    **{
        f"{type(one).__name__}, such as {one!r}, that it closes over": (
            made(CLOSURE, "make")(one),
            made(CLOSURE, "make")(other),
            {"values"},
        )
        for one, other in (
            (range(2), range(3)),
            (slice(2), slice(3)),
            (bytearray(b"a"), bytearray(b"b")),
            (collections.deque([1]), collections.deque([2])),
            (decimal.Decimal(1), decimal.Decimal(2)),
            (datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)),
            (Path("a"), Path("b")),
            (re.compile("a"), re.compile("b")),
            (operator.itemgetter(0), operator.itemgetter(1)),
            (max, min),
        )
    },
    "loss of the package": (made("loss = sigmoid", sigmoid=sigmoid_loss), made(HEAD + BODY), {"code"}),
}
EMPTY = "class Loss:\n    __slots__ = ('by',)\n    def __call__(self, policy): return policy\nloss = Loss()\n"
SAME: dict[str, tuple[Any, Any]] = {
    "comments, lines and a docstring": (
        made(HEAD + BODY),
        made("\n\n# why\n" + HEAD + '    """Returns it."""\n    # so\n' + BODY),
    ),
    "another name": (made(HEAD + BODY), made((HEAD + BODY).replace("loss", "other"), "other")),
    "annotations": (made(HEAD + BODY), made(HEAD.replace("policy", "policy: int") + BODY)),
    "a global that is not named": (made("by = 1\n" + HEAD + BODY), made("by = 2\n" + HEAD + BODY)),
    "a global with the name of an attribute": (
        made("sum = 1\n" + HEAD + "    return policy.sum\n"),
        made("sum = 2\n" + HEAD + "    return policy.sum\n"),
    ),
    "equal arrays": (made(CLOSURE, "make")(np.arange(100)), made(CLOSURE, "make")(np.arange(100))),
    "a set in another order": (made(CLOSURE, "make")({"a", "b", "c"}), made(CLOSURE, "make")({"c", "b", "a"})),
    "a function that calls itself": (made("def loss(n): return loss(n)"), made("def loss(n): return loss(n)")),
    "a cell that is not bound yet": (
        made("def make():\n    def loss(): return later\n    return loss\n    later = 1\nloss = make()"),
        made("def make():\n    def loss(): return later\n    return loss\n    later = 1\nloss = make()"),
    ),
    "wrapped twice": (jax.vmap(made(HEAD + BODY)), jax.vmap(made(HEAD + BODY))),
    "an array of objects": (
        made(CLOSURE, "make")(np.array([{}] * 9, object)),
        made(CLOSURE, "make")(np.array([{}] * 9, object)),
    ),
    "a place of an object that is empty": (made(EMPTY), made(EMPTY)),
    "a lock": (made(CLOSURE, "make")(threading.Lock()), made(CLOSURE, "make")(threading.Lock())),
    "objects made twice": (
        made(OBJECT.format(scale=1, sign="+", by=1)),
        made(OBJECT.format(scale=1, sign="+", by=1)),
    ),
}


@pytest.mark.parametrize("what", OTHER)
def test_what_differs_is_in_its_part(what: str):
    one, other, parts = OTHER[what]
    found = {name for name in FunctionParts._fields if _part(one, name) != _part(other, name)}
    assert found == parts


@pytest.mark.parametrize("what", SAME)
def test_what_computes_the_same_has_the_same_parts(what: str):
    one, other = SAME[what]
    assert function_parts(one) == function_parts(other)


def test_a_member_of_a_module_of_the_users_counts_and_one_of_a_package_does_not(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "helpers_of_mine.py").write_text("by = 1\nunused = 1\n")
    source = "import helpers_of_mine as mine\n" + HEAD + "    return mine.by * jnp.mean(policy)\n"
    inside = HEAD + "    import helpers_of_mine as mine\n    return mine.by * policy\n"
    before = [function_parts(made(text)) for text in (source, inside)]
    module = made("import helpers_of_mine as loss")
    module.unused = 2
    assert [function_parts(made(text)) for text in (source, inside)] == before
    module.by = 2
    after = [function_parts(made(text)) for text in (source, inside)]
    assert all(one.values != other.values and one.code == other.code for one, other in zip(before, after, strict=True))


def test_a_number_in_a_module_of_a_package_of_the_users_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "package_of_mine").mkdir()
    (tmp_path / "package_of_mine" / "__init__.py").write_text("from . import inside\n")
    (tmp_path / "package_of_mine" / "inside.py").write_text("import package_of_mine\nby = 1\n")
    loss = made("import package_of_mine as mine\n" + HEAD + "    return mine.inside.by * policy\n")
    before = function_parts(loss)
    made("import package_of_mine.inside\nloss = package_of_mine.inside").by = 2
    assert function_parts(loss).values != before.values


def test_a_long_value_is_cut_and_still_told_from_another():
    one, other = (function_parts(made(CLOSURE, "make")([0] * 200 + [last])).values for last in (1, 2))
    assert one != other
    assert len(one) < 150


def _part(function: Callable[..., Any], name: str) -> str:
    return getattr(function_parts(function), name)
