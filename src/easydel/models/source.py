"""Reading a parsed `config.json`: numbers, rotary settings in every spelling, and the kinds of its layers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from easydel.errors import ConfigError, nearest
from easydel.models.kinds import ROPE_TYPES, Rope

Source = Mapping[str, Any]
LAYER_TYPES = ("full_attention", "sliding_attention")
_SAYS_NOTHING = ("finetuned",)  # in the rotary settings of the models that YaRN was published with
_N = TypeVar("_N", int, float)


def number(source: Source, name: str, kind: type[_N], default: _N) -> _N:
    """Returns the number of that name; `default` where there is none or null.

    Raises:
        ConfigError: it is no number, or not a whole one where `kind` is int.
    """
    value = source.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or kind(value) != value:
        noun = "a whole number" if kind is int else "a number"
        raise ConfigError(f"{name} is {value!r}; it must be {noun}.")
    return kind(value)


def positive(source: Source, name: str, kind: type[_N], default: _N) -> _N:
    """Returns the number of that name, which something is divided by.

    Raises:
        ConfigError: it is no such number, or not above 0.
    """
    value = number(source, name, kind, default)
    if value <= 0:
        raise ConfigError(f"{name} ({value}) must be above 0.")
    return value


def cap(source: Source, name: str) -> float | None:
    """Returns the number of that name, None where there is none: the bound of a soft cap.

    Raises:
        ConfigError: it is not above 0.
    """
    value = number(source, name, float, 0.0)
    if source.get(name) is not None and value <= 0:
        raise ConfigError(f"{name} ({value}) must be above 0, or null for no cap.")
    return value or None


def unsupported(field: str, value: str, choices: Iterable[str]) -> ConfigError:
    """Returns the error for a name that we do not know, with the nearest and all of those we do."""
    names = sorted(choices)
    return ConfigError(f"{field} {value!r} is not supported.{nearest(value, names)} Supported: {', '.join(names)}.")


def only(source: Source, name: str, value: object, meaning: str) -> None:
    """Does nothing where a setting has the one value that we support, or is not there.

    Raises:
        ConfigError: it has another; `meaning` says what it asks for.
    """
    given = source.get(name)
    if given is not None and given != value:
        raise ConfigError(f"{name} is {given!r}: {meaning} is not supported. Only {value!r} is.")


def token_ids(value: int | list[int] | None) -> tuple[int, ...]:
    """Returns the ids of a setting that is none, one or several of them."""
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)


def layer_types(source: Source, count: int, otherwise: Sequence[str]) -> Sequence[str]:
    """Returns the type of each layer: `layer_types` of the source, or `otherwise`.

    Raises:
        ConfigError: not one of `LAYER_TYPES` for each layer.
    """
    given = source.get("layer_types")
    if given is None:
        return otherwise
    if len(given) != count:
        raise ConfigError(f"layer_types has {len(given)} entries; num_hidden_layers is {count}.")
    for each in given:
        if each not in LAYER_TYPES:
            raise unsupported("layer_types: the type", str(each), LAYER_TYPES)
    return given


def flags(source: Source, name: str, count: int, otherwise: Sequence[bool]) -> Sequence[bool]:
    """Returns one yes or no per layer.

    Raises:
        ConfigError: not as many as there are layers.
    """
    given = source.get(name)
    if given is None:
        return otherwise
    if len(given) != count:
        raise ConfigError(f"{name} has {len(given)} entries; num_hidden_layers is {count}.")
    return [bool(each) for each in given]


def given_rope(source: Source) -> dict[str, Any]:
    """Returns the rotary settings of either spelling: `rope_scaling` (transformers 4) or `rope_parameters` (5)."""
    return dict(source.get("rope_scaling") or source.get("rope_parameters") or {})


def rope(
    source: Source,
    given: Mapping[str, Any],
    head_dim: int,
    *,
    theta: float = 10000.0,
    partial: bool = False,
    aliases: Mapping[str, str] | None = None,
) -> Rope:
    """Returns the rotary embedding that settings describe, those of one type of layers where types differ.

    Args:
        source: the whole configuration, for what older versions keep outside of the settings.
        given: the settings, see `given_rope`.
        theta: where neither has a `rope_theta`.
        partial: whether the family may turn a part of the channels only.
        aliases: names that the family has for kinds of scaling.

    Raises:
        ConfigError: a kind we do not know, settings it lacks, or some that we do not know.
    """
    given = dict(given)
    kind = given.pop("rope_type", None) or given.pop("type", None)
    given.pop("type", None)
    if kind is None and given.get("factor") is not None:
        raise ConfigError(
            f"The rope scaling of config.json has a factor ({given['factor']}) and no rope_type, which says what the "
            f"factor is of. Supported: {', '.join(sorted(ROPE_TYPES))}."
        )
    kind = kind or "default"
    kind = (aliases or {}).get(kind, kind)
    if kind not in ROPE_TYPES:
        raise unsupported("rope_type", str(kind), ROPE_TYPES)
    share = float(given.pop("partial_rotary_factor", None) or source.get("partial_rotary_factor") or 1.0)
    _check_rope(kind, given, share, partial)
    settings = {name: value for name, value in given.items() if value is not None and name not in _SAYS_NOTHING}
    settings.setdefault("rope_theta", float(source.get("rope_theta") or theta))
    # `transformers` lets a value outside the rotary settings win over the one inside (Phi-3 writes it there).
    longest = number(source, "max_position_embeddings", int, 2048)
    outside = source.get("original_max_position_embeddings")
    original = int(outside or settings.get("original_max_position_embeddings") or longest)
    if original < 1 or longest < 1:
        raise ConfigError(f"max_position_embeddings ({longest}), also the original ({original}), must be at least 1.")
    settings["original_max_position_embeddings"] = longest if kind == "dynamic" else original
    dim = int(head_dim * share)
    if dim % 2 or dim < 2:
        raise ConfigError(
            f"partial_rotary_factor {share} of head_dim {head_dim} is {dim} channels; rotary angles turn pairs of them."
        )
    if kind == "longrope":
        settings |= _long(settings, dim, longest / original)
    return Rope(dim, kind, **settings)


def _check_rope(kind: str, given: Mapping[str, Any], share: float, partial: bool) -> None:
    if share != 1.0 and not partial:
        raise ConfigError(f"partial_rotary_factor is {share}; in this family only 1.0 is supported.")
    missing = [name for name in ROPE_TYPES[kind] if given.get(name) is None]
    if missing:
        raise ConfigError(f"The {kind!r} rope scaling of config.json lacks {', '.join(missing)}.")
    known = [name for name in Rope._fields if name not in ("dim", "rope_type")]
    unknown = sorted({*given} - {*known, *_SAYS_NOTHING})
    if unknown:
        raise ConfigError(
            f"The rope scaling of config.json has settings we do not know: {', '.join(unknown)}; "
            f"known are {', '.join(sorted(known))}."
        )


def _long(settings: Mapping[str, Any], dim: int, stretch: float) -> dict[str, Any]:
    """The settings of `longrope`: one factor for each pair of channels; by default it stretches as far as it must."""
    factors = {name: tuple(map(float, settings[name])) for name in ("short_factor", "long_factor")}
    for name, values in factors.items():
        if len(values) != dim // 2:
            raise ConfigError(f"{name} has {len(values)} numbers; {dim} rotated channels need {dim // 2}.")
    return {"factor": stretch, **settings, **factors}
