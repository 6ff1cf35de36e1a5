"""How an answer ends: the tokens that a tokenizer and its chat template write behind one, and where ids end.

An answer may end in several of them, as Phi's in `<|end|>` and then, behind a line break, `<|endoftext|>`; white space
may follow, as behind ChatML's `<|im_end|>`.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from easydel.data.template import Template
from easydel.data.tokenizer import Tokenizer
from easydel.errors import ConfigError, DataError

NO_EOS = (
    "the tokenizer has no eos_token, so a completion could not end: set tokenizer.eos_token, or eos_token in its "
    "tokenizer_config.json, to the token that ends an answer."
)


@dataclass(frozen=True)
class Endings:
    """How the answers of one tokenizer end."""

    tokenizer: Tokenizer

    @cached_property
    def turns(self) -> tuple[str, ...]:
        """What each chat template of the tokenizer writes behind an answer, without the white space around it."""
        given = self.tokenizer.chat_template
        sources = given.values() if isinstance(given, dict) else [given] if given else []
        found = (Template(self.tokenizer, source).behind_answer for source in sources)
        return tuple(dict.fromkeys(behind for behind in found if behind))

    @cached_property
    def turn_ids(self) -> tuple[int, ...]:
        """The tokens that the chat template ends an answer in: those right behind it, and at the end of its turn."""
        if not self.turns:
            return ()
        encoded = self.tokenizer(list(self.turns), add_special_tokens=False, return_attention_mask=False, verbose=False)
        ends = ([*self._up_to_text(ids), *reversed(list(self._up_to_text(ids[::-1])))] for ids in encoded["input_ids"])
        return tuple(dict.fromkeys(end for found in ends for end in found))

    @cached_property
    def ids(self) -> tuple[int, ...]:
        """Each token that ends an answer in training: those of the template, and the tokenizer's own."""
        own = () if self.tokenizer.eos_token_id is None else (int(self.tokenizer.eos_token_id),)
        return tuple(dict.fromkeys([*self.turn_ids, *own]))

    def text(self, *ids: int) -> str:
        """Returns tokens as they are written."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def ended(self, completion: str) -> str:
        """Returns a completion in plain text with one end: its own, without white space behind it, or the tokenizer's.

        One that the chat template wrote may end in another token than the tokenizer's, and keeps it.

        Raises:
            DataError: it has none, and the tokenizer has none.
        """
        eos = self.tokenizer.eos_token
        texts = [*([eos] if eos else []), *map(self.text, self.turn_ids)]
        own = next((text for text in texts if completion.rstrip().endswith(text)), eos)
        if not own:
            raise DataError(NO_EOS)
        while (bare := completion.rstrip()).endswith(own):
            completion = bare.removesuffix(own)
        return completion + own

    def _up_to_text(self, ids: Sequence[int]) -> Iterator[int]:
        """Yields the tokens that were added to the vocabulary, up to the first of the text of an ordinary one."""
        for number in ids:
            if number in self.tokenizer.added_tokens_decoder:
                yield number
            elif self.text(number).strip():
                return


def check_ending(tokenizer: Tokenizer) -> None:
    """Raises ConfigError for a tokenizer that can end no completion; a chat template may write an end of its own."""
    if not tokenizer.eos_token and not tokenizer.chat_template:
        raise ConfigError(NO_EOS)


def ends_of(ids: Sequence[int], ends: Collection[int], is_blank: Callable[[int], bool]) -> list[int]:
    """Returns the ends that a completion stops in, in order: those behind its last token of another kind.

    >>> ends_of([5, 6, 1, 9, 2, 9], ends={1, 2}, is_blank={9}.__contains__)
    [1, 2]
    >>> ends_of([1, 5, 9], ends={1, 2}, is_blank={9}.__contains__)
    []
    """
    found = []
    for number in reversed(ids):
        if number in ends:
            found.append(number)
        elif not is_blank(number):
            break
    return found[::-1]
