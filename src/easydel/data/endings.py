"""How a completion ends: the tokens that a tokenizer and its chat template write behind one, and where ids end.

Both who writes an end (`easydel.data.tokenize`) and who looks for one (`easydel.trainers.completion_ends`) ask here.
A completion may end in several of them, as Phi's in `<|end|>` and then, behind a line break, `<|endoftext|>`; white
space may follow, as behind ChatML's `<|im_end|>`.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from easydel.data.template import Template
from easydel.data.tokenizer import Tokenizer, decoded, encoded
from easydel.errors import ConfigError, DataError

NO_EOS = (
    "the tokenizer has no eos_token, so a completion could not end: set tokenizer.eos_token, or eos_token in its "
    "tokenizer_config.json, to the token that ends a completion."
)


@dataclass(frozen=True)
class Endings:
    """How the completions of one tokenizer end."""

    tokenizer: Tokenizer

    @cached_property
    def turns(self) -> tuple[str, ...]:
        """What each chat template of the tokenizer writes behind a completion, without the white space around it."""
        given = self.tokenizer.chat_template
        sources = given.values() if isinstance(given, dict) else [given] if given else []
        found = (Template(self.tokenizer, source).behind_answer for source in sources)
        return tuple(dict.fromkeys(behind for behind in found if behind))

    @cached_property
    def turn_ids(self) -> tuple[int, ...]:
        """The tokens that the chat template ends a completion in: those right behind it, and at the end of its turn."""
        if not self.turns:
            return ()
        turns = encoded(self.turns, self.tokenizer)
        ends = ([*self._up_to_text(ids), *reversed(list(self._up_to_text(ids[::-1])))] for ids in turns)
        return tuple(dict.fromkeys(end for found in ends for end in found))

    @cached_property
    def ids(self) -> tuple[int, ...]:
        """Each token that ends a completion in training: those of the template, and the tokenizer's own."""
        own = () if self.tokenizer.eos_token_id is None else (int(self.tokenizer.eos_token_id),)
        return tuple(dict.fromkeys([*self.turn_ids, *own]))

    @cached_property
    def is_blank(self) -> Callable[[int], bool]:
        """Whether a token is white space alone, which may stand behind an end."""
        return cache(lambda number: not self.text(number).strip())

    def text(self, *ids: int) -> str:
        """Returns tokens as they are written."""
        return decoded(ids, self.tokenizer)

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

    def with_one_eos(self, ids: list[int], text: str) -> list[int]:
        """Returns the ids of a text with one `eos_token` at the end, or none: as the text has, whatever was added."""
        eos, eos_token = self.tokenizer.eos_token_id, self.tokenizer.eos_token
        ends = bool(eos_token) and text.endswith(str(eos_token))
        while len(ids) > 1 and ids[-1] == eos and (not ends or ids[-2] == eos):
            ids = ids[:-1]
        return ids

    def _up_to_text(self, ids: Sequence[int]) -> Iterator[int]:
        """Yields the tokens that were added to the vocabulary, up to the first of the text of an ordinary one."""
        for number in ids:
            if number in self.tokenizer.added_tokens_decoder:
                yield number
            elif not self.is_blank(number):
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
