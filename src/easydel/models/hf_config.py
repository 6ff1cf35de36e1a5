"""Reading a parsed `config.json`: the types of its values, numbers, rotary settings, and the kinds of its layers."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from easydel.errors import ConfigError, unsupported
from easydel.models.kinds import ROPE_TYPES, Rope

Source = Mapping[str, Any]
# In the rotary settings: of the models that YaRN was published with, and of those with images, for other than text.
_IGNORED = ("finetuned", "mrope_section", "mrope_interleaved")
_N = TypeVar("_N", int, float)
_V = TypeVar("_V")

_MAX_COUNT = 2**31 - 1  # of any size
_MAX_LAYERS = 10_000
_ROPE = ("rope_scaling", "rope_parameters", "full_attention", "sliding_attention")  # the last two inside of the others
_INTEGERS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "max_position_embeddings", "original_max_position_embeddings"),
    *("sliding_window", "max_window_layers", "bos_token_id", "pad_token_id"),
)
_NUMBERS = (
    *("rms_norm_eps", "rope_theta", "attention_dropout", "initializer_range", "partial_rotary_factor", "factor"),
    *("low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "attention_factor"),
)
_NUMBER_LISTS = ("short_factor", "long_factor", "no_rope_layers", "mlp_only_layers")
_BOOLEANS = ("attention_bias", "mlp_bias", "tie_word_embeddings", "use_sliding_window", "truncate")
_STRINGS = ("model_type", "hidden_act", "hidden_activation", "rope_type", "type")


def check_types(source: Mapping[str, Any]) -> None:
    """Raises ConfigError for the first value of a parsed `config.json` that has another type than its name asks for."""
    for name, value in source.items():
        if name in _ROPE and isinstance(value, Mapping):
            check_types(value)
        elif value is not None and name in _KINDS and not _KINDS[name][1](value):
            raise ConfigError(f"{name} is {value!r:.60}; it must be {_KINDS[name][0]}.")


def _is_number(value: Any) -> bool:
    # JSON has integers of any length, and not every one is a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30 and math.isfinite(value)


def _is_integer(value: Any, maximum: int = _MAX_COUNT) -> bool:
    return _is_number(value) and value == int(value) and abs(value) <= maximum


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))


def _is_token_ids(value: Any) -> bool:
    return all(isinstance(each, int) and _is_integer(each) for each in (value if isinstance(value, list) else [value]))


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(_INTEGERS, ("an integer", _is_integer)),
    **dict.fromkeys(_NUMBERS, ("a number", _is_number)),
    **dict.fromkeys(_BOOLEANS, ("a boolean", lambda value: isinstance(value, bool))),
    **dict.fromkeys(_STRINGS, ("a string", lambda value: isinstance(value, str))),
    **dict.fromkeys(_ROPE, ("a JSON object", lambda value: False)),
    "num_hidden_layers": (f"an integer up to {_MAX_LAYERS:,}", lambda value: _is_integer(value, _MAX_LAYERS)),
    "eos_token_id": ("an integer, or a list of integers", _is_token_ids),
    **dict.fromkeys(_NUMBER_LISTS, ("a list of numbers", _is_numbers)),
    "layer_types": (
        "a list of strings",
        lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
    ),
}


def number(source: Source, name: str, kind: type[_N], default: _N) -> _N:
    """Returns the number of that name; `default` where it is absent or null.

    Raises:
        ConfigError: it is not a number, or not an integer where `kind` is int.
    """
    value = source.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or kind(value) != value:
        noun = "an integer" if kind is int else "a number"
        raise ConfigError(f"{name} is {value!r}; it must be {noun}.")
    return kind(value)


def positive(source: Source, name: str, kind: type[_N], default: _N) -> _N:
    """Returns the number of that name, which something is divided by.

    Raises:
        ConfigError: see `number`; or it is not above 0.
    """
    value = number(source, name, kind, default)
    if value <= 0:
        raise ConfigError(f"{name} ({value}) must be above 0.")
    return value


def cap(source: Source, name: str) -> float | None:
    """Returns the number of that name, None where it is absent or null: the bound of a soft cap.

    Raises:
        ConfigError: it is not above 0.
    """
    value = number(source, name, float, 0.0)
    if source.get(name) is not None and value <= 0:
        raise ConfigError(f"{name} ({value}) must be above 0, or null for no cap.")
    return value or None


def only(source: Source, name: str, value: object, meaning: str) -> None:
    """Does nothing where a setting has the one value that we support, or is not there.

    Raises:
        ConfigError: it has another; `meaning` says what it asks for.
    """
    given = source.get(name)
    if given is not None and given != value:
        raise ConfigError(f"{name} is {given!r}: {meaning} is not supported. Only {value!r} is.")


def token_ids(value: int | list[int] | None) -> tuple[int, ...]:
    """Returns the ids of a setting that holds none, one id or a list of them."""
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)


def per_layer(source: Source, name: str, count: int, otherwise: Sequence[_V]) -> Sequence[_V]:
    """Returns the list of that name, one value for each layer; `otherwise` where it is absent or null.

    Raises:
        ConfigError: not as many as there are layers.
    """
    given = source.get(name)
    if given is None:
        return otherwise
    if len(given) != count:
        raise ConfigError(f"{name} has {len(given)} entries; num_hidden_layers is {count}.")
    return given


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
    kind = "default" if kind in (None, "mrope") else kind
    kind = (aliases or {}).get(kind, kind)
    if kind not in ROPE_TYPES:
        raise unsupported("rope_type", str(kind), sorted(ROPE_TYPES))
    share = float(given.pop("partial_rotary_factor", None) or source.get("partial_rotary_factor") or 1.0)
    _check_rope(kind, given, share, partial)
    settings = {name: value for name, value in given.items() if value is not None and name not in _IGNORED}
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
    unknown = sorted({*given} - {*known, *_IGNORED})
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
