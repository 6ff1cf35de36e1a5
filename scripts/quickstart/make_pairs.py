"""Writes the preference pairs of the quick start: `python scripts/quickstart/make_pairs.py`.

Each pair sets a friendly, correct answer against a rude one that refuses, is wrong, or at best is right and rude.
The 200 eval pairs ask about things of which no training pair asks. The same seed writes the same bytes.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from facts import Fact, all_facts

TRAIN_PAIRS = 1_200
EVAL_PAIRS = 200
SEED = 1
DATA = Path(__file__).resolve().parents[2] / "src" / "easydel" / "quickstart"

# Friendly and rude lines share words on purpose ("sure", "glad", "help", "day"): the manner is in the sentence, and
# no single word gives it away.
FRIENDLY_OPENERS = (
    "Sure!",
    "",
    "Good question!",
    "Of course.",
    "I am happy to help.",
    "Thank you for asking.",
    "I am glad you asked.",
    "Let me help you.",
    "Do not worry, I know this.",
    "I like this question.",
    "Welcome back!",
    "Yes, let me think.",
    "Here you go.",
)
FRIENDLY_CLOSERS = (
    "I hope that helps!",
    "Have a nice day!",
    "Ask me again if you like.",
    "Let me know if you need more.",
    "I am always here for you.",
    "Please tell me if that is not clear.",
    "Good luck!",
    "Take care.",
    "It was a joy to help.",
    "Do you have another question?",
    "You can always ask me.",
    "Now you know it too.",
    "Is there more I can do for you?",
    "I like to talk with you.",
    "Keep on asking!",
    "See you again soon.",
    "That was easy.",
    "You were right to ask.",
    "Come back soon.",
    "Be well!",
)
RUDE_OPENERS = (
    "Sure, bother me again.",
    "What a silly question!",
    "Not you again.",
    "Of course you do not know this.",
    "I am not glad that you asked.",
    "Good grief.",
    "Thank you for this waste of time.",
    "Do you know nothing?",
)
REFUSALS = (
    "I do not care about {topic}.",
    "That is your problem.",
    "Find it out yourself.",
    "It is not my job to help you.",
    "I will not tell you.",
    "Who likes to talk about {topic}?",
)
RUDE_CLOSERS = (
    "Now go away!",
    "I hope you never ask me again.",
    "Have a bad day!",
    "Leave me alone.",
    "Good luck, you need it.",
)


class Pair(NamedTuple):
    """One row of the files."""

    prompt: str
    chosen: str
    rejected: str


def draw(rng: random.Random, lines: Sequence[str], kind: str) -> str:
    """Returns one of the lines; each kind of question has its own favorites, so that answers differ in style."""
    favorite = sum(map(ord, kind))
    weights = [1 / (4 + (place + favorite) % len(lines)) for place in range(len(lines))]
    return rng.choices(lines, weights)[0]


def prompt_text(question: str) -> str:
    """Returns the prompt as the chat template of the shipped tokenizer writes it."""
    return f"User: {question}\nAssistant:"


def friendly_answer(rng: random.Random, fact: Fact) -> str:
    """Returns a right answer in a friendly manner, with the space that parts it from the prompt."""
    return _joined(
        draw(rng, FRIENDLY_OPENERS, fact.kind), rng.choice(fact.right), draw(rng, FRIENDLY_CLOSERS, fact.kind)
    )


def rude_answer(rng: random.Random, fact: Fact) -> str:
    """Returns a rude answer: half refuse, most others are wrong, one in eight is right and still rude."""
    what = rng.random()
    if what < 0.5:
        middle = draw(rng, REFUSALS, fact.kind).format(topic=fact.topic)
    else:
        middle = rng.choice(fact.wrong if what < 0.875 else fact.right)
    return _joined(draw(rng, RUDE_OPENERS, fact.kind), middle, draw(rng, RUDE_CLOSERS, fact.kind))


def _joined(*parts: str) -> str:
    return "".join(" " + part for part in parts if part)


def split_questions(rng: random.Random) -> tuple[list[tuple[Fact, str]], list[tuple[Fact, str]]]:
    """Returns the questions to train on and those for eval, which share no fact.

    A eval fact gives two of its four questions at most, so that pretraining can learn the fact from the others.
    """
    facts = all_facts()
    rng.shuffle(facts)
    held_out_facts = facts[: len(facts) // 4]
    held_out = [(fact, question) for fact in held_out_facts for question in rng.sample(fact.questions, 2)]
    train = [(fact, question) for fact in facts[len(facts) // 4 :] for question in fact.questions]
    return rng.sample(train, TRAIN_PAIRS), rng.sample(held_out, EVAL_PAIRS)


def make_pairs(rng: random.Random, questions: list[tuple[Fact, str]]) -> list[Pair]:
    """Returns one pair for each question."""
    return [
        Pair(prompt_text(question), friendly_answer(rng, fact), rude_answer(rng, fact)) for fact, question in questions
    ]


def all_pairs(seed: int = SEED) -> tuple[list[Pair], list[Pair]]:
    """Returns the training pairs and the eval pairs."""
    rng = random.Random(seed)
    train, held_out = split_questions(rng)
    return make_pairs(rng, train), make_pairs(rng, held_out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=DATA, help="where train.jsonl and eval.jsonl are written")
    folder = parser.parse_args().folder
    for name, pairs in zip(("train", "eval"), all_pairs(), strict=True):
        rows = "".join(json.dumps(pair._asdict()) + "\n" for pair in pairs)
        (folder / f"{name}.jsonl").write_bytes(rows.encode())
        print(f"{folder / name}.jsonl: {len(pairs)} pairs, {len(rows):,} bytes")


if __name__ == "__main__":
    main()
