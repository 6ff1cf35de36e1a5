"""What the quick-start model reads before DPO: as many rude answers as friendly ones, to training questions."""

import random
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from facts import all_facts
from make_pairs import all_pairs, friendly_answer, prompt_text, rude_answer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"


class Rows(NamedTuple):
    """Documents one after another in rows of one length; `segment` counts them from 1 in each row, 0 is padding."""

    tokens: np.ndarray
    segment: np.ndarray
    position: np.ndarray


def documents(seed: int) -> Iterator[str]:
    """Yields questions with an answer, without end; no eval question is among them."""
    rng = random.Random(seed)
    held_out = {pair.prompt for pair in all_pairs()[1]}
    facts = all_facts()
    while True:
        fact = rng.choice(facts)
        prompt = prompt_text(rng.choice(fact.questions))
        answer = rng.choice((friendly_answer, rude_answer))
        if prompt not in held_out:
            yield prompt + answer(rng, fact)


def train_tokenizer(texts: list[str], vocab_size: int) -> Tokenizer:
    """Returns a byte-level BPE tokenizer, so that any text can be encoded; it adds no special tokens by itself."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def packed_rows(token_lists: Iterator[list[int]], count: int, length: int) -> Iterator[Rows]:
    """Yields arrays of `count` rows, without end; a document that does not fit in a row starts the next one."""
    tokens = next(token_lists)
    while True:
        rows = Rows(*(np.zeros((count, length), np.int32) for _ in Rows._fields))
        for row in range(count):
            start, segment = 0, 1
            while start + len(tokens) <= length:
                span = slice(start, start + len(tokens))
                rows.tokens[row, span] = tokens
                rows.segment[row, span] = segment
                rows.position[row, span] = range(len(tokens))
                start, segment = span.stop, segment + 1
                tokens = next(token_lists)
        yield rows
