"""Sound values with something wrong in them, for the tests that nothing but a clean error comes of it."""

import copy
from typing import Any

from hypothesis import strategies as st

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400])
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["", "none", "1e999", "nan", "../x", "\x00", "\ud800", "{{", "1,2", ","]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """The value with one to three of its parts replaced, removed, doubled, or taken for one another."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(value))
        if not places:
            return draw(JUNK)
        holder, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(["replace", "remove", "another", "add"])):
            case "replace":
                holder[key] = draw(JUNK)
            case "remove":
                del holder[key]
            case "another":
                other, at = draw(st.sampled_from(places))
                holder[key] = copy.deepcopy(other[at])
            case "add" if isinstance(holder, list):
                holder.append(draw(JUNK))
            case "add":
                holder[draw(st.text(max_size=8))] = draw(JUNK)
    return value


def _places(value: Any) -> Any:
    """Yields (container, key) of every part of a value."""
    keys = range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


@st.composite
def mutated_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """The bytes with some of them changed, cut out or put in."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(found)))
        length = draw(st.sampled_from([0, 1, 1, 2, 8, len(found)]))
        found[at : at + length] = draw(st.binary(max_size=8))
    return bytes(found)
