"""The part of a Hugging Face tokenizer that is used here."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from easydel.data.messages import Message


class Tokenizer(Protocol):
    """See the methods of `transformers.PreTrainedTokenizerBase`."""

    @property
    def eos_token(self) -> str | None: ...
    @property
    def eos_token_id(self) -> int | None: ...
    @property
    def bos_token(self) -> str | None: ...
    @property
    def bos_token_id(self) -> int | None: ...
    @property
    def chat_template(self) -> Any: ...
    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]: ...
    @property
    def is_fast(self) -> bool: ...
    @property
    def special_tokens_map(self) -> Mapping[str, Any]: ...

    def __call__(
        self,
        text: list[str],
        *,
        add_special_tokens: bool,
        return_attention_mask: bool,
        verbose: bool,
        return_offsets_mapping: bool = False,
    ) -> Mapping[str, Any]: ...

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str | None]: ...

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str: ...

    def apply_chat_template(
        self,
        conversation: list[Message],
        *,
        tools: Any,
        add_generation_prompt: bool,
        tokenize: bool,
        **options: Any,
    ) -> Any: ...

    def save_pretrained(self, save_directory: str) -> Any: ...


def encoded(texts: Sequence[str], tokenizer: Tokenizer, *, add_special_tokens: bool = False) -> list[list[int]]:
    """Returns the ids of texts."""
    return tokenizer(list(texts), add_special_tokens=add_special_tokens, return_attention_mask=False, verbose=False)[
        "input_ids"
    ]


def decoded(ids: Sequence[int], tokenizer: Tokenizer) -> str:
    """Returns ids as they are written, special tokens too."""
    return tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
