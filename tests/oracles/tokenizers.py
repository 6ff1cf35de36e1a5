"""Tokenizers small enough to work out their ids by hand."""

from typing import Any

from tokenizers import AddedToken, Tokenizer, models, processors
from transformers import PreTrainedTokenizerFast

# One id per character, with `ab` as a merge across which a prompt and a completion may join.
CHARACTERS = ["<unk>", "<s>", "</s>", *"abcdefghijklmnopqrstuvwxyz .:\n", "ab"]
BOS, EOS = 1, 2


def ids(text: str) -> list[int]:
    """The ids of a text, worked out one character (or `ab`) at a time."""
    found = []
    while text:
        piece = next(piece for piece in ("<s>", "</s>", "ab", text[0]) if text.startswith(piece))
        found.append(CHARACTERS.index(piece))
        text = text[len(piece) :]
    return found


def tiny_tokenizer(*, bos: bool = True, eos: bool = False, chat_template: str | None = None) -> Any:
    """A fast tokenizer that adds BOS in front and EOS at the end as told."""
    vocab = {piece: at for at, piece in enumerate(CHARACTERS)}
    backend = Tokenizer(models.BPE(vocab, [("a", "b")], unk_token="<unk>"))
    backend.add_special_tokens([AddedToken(piece, normalized=False) for piece in CHARACTERS[:3]])
    single = ["<s>"] * bos + ["$A"] + ["</s>"] * eos
    backend.post_processor = processors.TemplateProcessing(
        single=" ".join(single), special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = chat_template
    return tokenizer
