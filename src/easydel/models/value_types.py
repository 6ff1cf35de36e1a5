"""What the values of a `config.json` may be, whatever the family: looked at before a family reads them."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from easydel.errors import ConfigError

_MOST = 2**31 - 1  # of anything that is counted
_MOST_LAYERS = 10_000
_ROPE = ("rope_scaling", "rope_parameters", "full_attention", "sliding_attention")  # the last two inside of the others
_WHOLE = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "max_position_embeddings", "original_max_position_embeddings"),
    *("sliding_window", "max_window_layers", "bos_token_id", "pad_token_id"),
)
_NUMBER = (
    *("rms_norm_eps", "rope_theta", "attention_dropout", "initializer_range", "partial_rotary_factor", "factor"),
    *("low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "attention_factor"),
)
_NUMBERS = ("short_factor", "long_factor", "no_rope_layers", "mlp_only_layers")
_TRUTH = ("attention_bias", "mlp_bias", "tie_word_embeddings", "use_sliding_window", "truncate")
_TEXT = ("model_type", "hidden_act", "hidden_activation", "rope_type", "type")


def check_types(source: Mapping[str, Any]) -> None:
    """Raises ConfigError for the first value of a parsed `config.json` that is not what its name says; null is none."""
    for name, value in source.items():
        if name in _ROPE and isinstance(value, Mapping):
            check_types(value)
        elif value is not None and name in _KINDS and not _KINDS[name][1](value):
            raise ConfigError(f"{name} is {value!r:.60}; it must be {_KINDS[name][0]}.")


def _is_number(value: Any) -> bool:
    # A whole number of any length is one in JSON, and not every one is a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30 and math.isfinite(value)


def _is_whole(value: Any, most: int = _MOST) -> bool:
    return _is_number(value) and value == int(value) and abs(value) <= most


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))


def _is_token_ids(value: Any) -> bool:
    return all(isinstance(each, int) and _is_whole(each) for each in (value if isinstance(value, list) else [value]))


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(_WHOLE, ("a whole number", _is_whole)),
    **dict.fromkeys(_NUMBER, ("a number", _is_number)),
    **dict.fromkeys(_TRUTH, ("true or false", lambda value: isinstance(value, bool))),
    **dict.fromkeys(_TEXT, ("text", lambda value: isinstance(value, str))),
    **dict.fromkeys(_ROPE, ("a JSON object", lambda value: False)),
    "num_hidden_layers": (f"a whole number up to {_MOST_LAYERS:,}", lambda value: _is_whole(value, _MOST_LAYERS)),
    "eos_token_id": ("a whole number, or a list of them", _is_token_ids),
    **dict.fromkeys(_NUMBERS, ("a list of numbers", _is_numbers)),
    "layer_types": (
        "a list of text",
        lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
    ),
}
