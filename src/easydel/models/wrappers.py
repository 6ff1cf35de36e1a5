"""Models of text with images or audio: the `config.json` of their text, and where their file keeps its tensors.

Such a model is a wrapper around one of text. The text is trained; what belongs to towers and projectors is carried from
the file that was read to the one that is written, unread. Tensors of the text have here the names that modules of
`transformers` 5 have, which are those of PEFT too; files have them, or those of version 4.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from easydel.errors import ConfigError
from easydel.models.families import FAMILIES
from easydel.weights.safetensors import Stored

# What the whole model says wins over what its text says.
_OF_THE_WHOLE = ("dtype", "torch_dtype", "quantization_config", "bos_token_id", "eos_token_id", "pad_token_id")
PREFIX = "model.language_model"
# Of `transformers` 4, of 5, and of the Qwens of both, in the order in which they are looked for.
_PREFIXES = ("language_model.model.", f"{PREFIX}.", "model.")
_HEADS = ("lm_head.", "language_model.lm_head.")
_PLACEHOLDERS = ("image_token_id", "image_token_index", "video_token_id", "video_token_index", "audio_token_id")


class Wrapper(NamedTuple):
    """What a class of `transformers` takes for absent keys.

    Attributes:
        text: the `model_type` of the text where its configuration does not say.
        tied: whether embedding and head are one.
        placeholders: ids of the tokens that stand for images, videos and sounds, by their keys.
    """

    text: str
    tied: bool
    placeholders: Mapping[str, int]


class Carried(NamedTuple):
    """What of a file is not trained and goes from it to every copy.

    Attributes:
        names: those that the file has for tensors of the text, by those of the weight table, where they differ.
        tensors: all others, by their names, which are read when they are written.
    """

    names: Mapping[str, str] = MappingProxyType({})
    tensors: Mapping[str, Stored] = MappingProxyType({})


_QWEN = {"image_token_id": 151_655, "video_token_id": 151_656}
WRAPPERS: dict[str, Wrapper] = {
    "qwen2_vl": Wrapper("qwen2_vl_text", False, _QWEN),
    "qwen2_5_vl": Wrapper("qwen2_5_vl_text", False, _QWEN),
    "qwen3_vl": Wrapper("qwen3_vl_text", False, _QWEN),
    "qwen3_5": Wrapper("qwen3_5_text", False, {"image_token_id": 248_056, "video_token_id": 248_057}),
    "mistral3": Wrapper("mistral", True, {"image_token_index": 10}),
    "gemma3": Wrapper("gemma3_text", True, {"image_token_index": 262_144}),
}


def is_wrapper(source: Mapping[str, Any]) -> bool:
    """Returns whether a `config.json` is that of a wrapper; one that we do not know is told by its `text_config`."""
    known = isinstance(source.get("model_type"), str) and source["model_type"] in WRAPPERS
    return known or (isinstance(source.get("text_config"), Mapping) and source.get("model_type") not in FAMILIES)


def text_config(source: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the `config.json` of the text of a wrapper, without `architectures`; any other as it is.

    Raises:
        ConfigError: a wrapper, or a text, that we do not know.
    """
    if not is_wrapper(source):
        return dict(source)
    kind = str(source.get("model_type"))
    inner = source.get("text_config")
    # Qwen 2.5 VL was published with the settings of its text among its own.
    flat = {name: value for name, value in source.items() if not name.endswith("_config")} | {"model_type": None}
    inner = dict(inner) if isinstance(inner, Mapping) else flat
    if kind not in WRAPPERS:
        raise ConfigError(
            f"model_type {kind!r} is a model of text with images or audio that is not supported; its text is "
            f"{inner.get('model_type')!r}. Of such models {', '.join(sorted(WRAPPERS))} are."
        )
    wrapper = WRAPPERS[kind]
    text = inner.get("model_type") or wrapper.text
    if text not in FAMILIES:
        raise ConfigError(
            f"model_type {kind!r} is a model around a text of model_type {text!r}, which is not supported. "
            f"Supported: {', '.join(sorted(FAMILIES))}."
        )
    outer = {name: source[name] for name in _OF_THE_WHOLE if source.get(name) is not None}
    tied = source.get("tie_word_embeddings")
    if kind.startswith("qwen2") and not tied:  # as their classes do: older files say it of the text
        tied = inner.get("tie_word_embeddings")
    outer["tie_word_embeddings"] = wrapper.tied if tied is None else tied
    return {**inner, **outer, "model_type": text}


def placeholders(source: Mapping[str, Any]) -> dict[int, str]:
    """Returns the ids of tokens that stand for images, videos or sounds, with the key of `config.json` that says so."""
    if not is_wrapper(source):
        return {}
    given = {name: source[name] for name in _PLACEHOLDERS if isinstance(source.get(name), int)}
    absent = WRAPPERS[source["model_type"]].placeholders
    other = {"image_token_id": "image_token_index", "image_token_index": "image_token_id"}
    found = given | {
        name: number for name, number in absent.items() if name not in given and other.get(name) not in given
    }
    return {number: name for name, number in found.items()}


def carried(stored: Mapping[str, Stored]) -> Carried:
    """Returns what of the file of a wrapper is not its text, and how the file calls what is."""
    names = text_names(stored)
    text = set(names.values())
    others = {name: tensor for name, tensor in stored.items() if name not in text}
    return Carried({ours: name for ours, name in names.items() if ours != name}, others)


def predictors(stored: Mapping[str, Stored], model_type: str, layers: int) -> dict[str, Stored]:
    """Returns the tensors of a file of text that predict more tokens ahead (MTP), which classes of causal models leave.

    GLM 4.5 keeps them behind the last of its layers, Qwen 3.5 in a module of their own.
    """

    def predicts(name: str) -> bool:
        behind = re.match(r"model\.layers\.(\d+)\.", name) if model_type == "glm4_moe" else None
        own = model_type == "qwen3_5_text" and name.startswith("mtp.")
        return own or (behind is not None and int(behind[1]) >= layers)

    return {name: tensor for name, tensor in stored.items() if predicts(name)}


def text_names(stored: Mapping[str, Stored]) -> dict[str, str]:
    """Returns the tensors of the text of a wrapper: {name of the module: name in the file}."""
    prefix = next((each for each in _PREFIXES if any(name.startswith(f"{each}layers.") for name in stored)), "model.")
    found = {}
    for name in stored:
        if name.startswith(prefix):
            found[f"{PREFIX}.{name.removeprefix(prefix)}"] = name
        for head in _HEADS:
            if name.startswith(head):
                found[f"lm_head.{name.removeprefix(head)}"] = name
    return found
