"""Prepared pairs as people read them, with texts worked out by hand for a tokenizer of one token a character."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders

from easydel.data.counts import Tally
from easydel.data.examples import FIRST, MERGED, NO_LOSS, Example, Examples
from easydel.data.pair import TRUNCATION_MODES, Limits, Pair, truncate
from easydel.data.prepare import TokenizeConfig
from easydel.data.preview import BRIEF, Preview, Room, Segment, preview_of
from easydel.data.tokenize import Joined
from oracles.tokenizers import BOS, CHARACTERS, EOS, ids, tiny_tokenizer

TEMPLATE = (
    "{% for m in messages %}{{ 'x:' if m.role == 'user' else 'y:' if m.role == 'assistant' else 'z:' }}"
    "{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}y:{% endif %}"
)


def tokenizer(**options):
    made = tiny_tokenizer(**options)
    made.backend_tokenizer.decoder = decoders.Fuse()
    return made


def previews(rows, room=BRIEF, *, chat_template=None, **limits) -> list[Preview]:
    config, tally = TokenizeConfig(tokenizer(chat_template=chat_template), Limits(**limits)), Tally()
    assert list(config.pairs(rows, tally))
    return [preview_of(each, config.limits, config.tokenizer, room) for each in tally.examples.found()]


def said(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def shown(segments: tuple[Segment, ...]) -> str:
    """Segments as a line: special tokens in <>, what bears no loss in (), what is cut in {}, what is hidden as ~."""
    marks = {"prompt": "{}", "trained": "{}", "untrained": "({})", "cut": "{{{}}}"}
    return "".join(
        marks[each.kind].format("~" if each.text is None else f"<{each.text}>" if each.special else each.text)
        for each in segments
    )


def parts(preview: Preview) -> list[str]:
    return [shown(each) for each in (preview.prompt, preview.chosen, preview.rejected)]


def test_a_row_of_text_shows_its_special_tokens_and_where_the_prompt_ends():
    [preview] = previews([{"prompt": "sky? is", "chosen": " blue", "rejected": " red"}])
    assert parts(preview) == ["<<s>>sky<<unk>> is", " blue<</s>>", " red<</s>>"]
    assert (preview.row, preview.reasons, preview.weight, preview.margin) == (0, (FIRST,), 1.0, 0.0)


def test_turns_that_the_model_did_not_write_are_marked():
    row = {"question": "hi", "chosen": said(("assistant", "a"), ("tool", "b"), ("assistant", "c")), "rejected": "d"}
    [preview] = previews([{**row, "weight": 0.5, "margin": 2}], chat_template=TEMPLATE)
    assert parts(preview) == ["x:hi<</s>>y:", "a<</s>>(z:b)(<</s>>)(y:)c<</s>>", "d<</s>>"]
    assert (preview.reasons, preview.weight, preview.margin) == ((FIRST, NO_LOSS), 0.5, 2.0)


ROW = {"prompt": "abcdef", "chosen": "uvwxyz", "rejected": "rs"}  # `ab` is one token


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, ["<<s>>abcdef", "uvwxyz<</s>>", "rs<</s>>"]),
        ({"max_prompt_length": 3}, ["{<<s>>}{abc}def", "uvwxyz<</s>>", "rs<</s>>"]),
        ({"max_completion_length": 2}, ["<<s>>abcdef", "uv{wxyz}{<</s>>}", "rs{<</s>>}"]),
        ({"max_length": 8}, ["<<s>>abcdef", "uv{wxyz}{<</s>>}", "rs{<</s>>}"]),
        # Each side keeps its own end, so each shows the prompt that is left to it.
        ({"max_length": 9, "truncation_mode": "keep_end"}, ["", "{<<s>>}{abcd}efuvwxyz<</s>>", "<<s>>abcdefrs<</s>>"]),
        # Of a completion that fills the length the first token left is context.
        (
            {"max_length": 4, "truncation_mode": "keep_end", "max_completion_length": 6},
            ["", "{<<s>>}{abcdefuv}wxyz{<</s>>}", "{<<s>>}{abcde}frs<</s>>"],
        ),
    ],
)
def test_what_was_cut_is_shown_as_cut(limits, expected):
    [preview] = previews([ROW], **limits)
    assert parts(preview) == expected


def test_the_context_of_a_side_is_of_the_kind_prompt():
    [preview] = previews([ROW], max_length=9, truncation_mode="keep_end")
    assert [(each.kind, each.text) for each in preview.chosen] == [
        *(("cut", "<s>"), ("cut", "abcd"), ("prompt", "ef"), ("trained", "uvwxyz"), ("trained", "</s>"))
    ]


def test_long_parts_are_shortened_so_that_their_borders_stay():
    row = {"prompt": "b" + "c" * 40 + "d", "chosen": "e" + "f" * 40 + "g", "rejected": "h" * 6}
    [preview] = previews([row], Room(2, 4))
    assert parts(preview) == ["<<s>>b~cccd", "efff~g<</s>>", "hhhhhh<</s>>"]  # six and an end are not long
    assert sum(len(each.ids) for each in preview.prompt) == 43


def test_of_many_turns_those_at_both_ends_are_shown():
    turns = [(role, content) for content in "abcdefgh" for role in ("assistant", "tool")]
    row = {"question": "x", "chosen": said(*turns, ("assistant", "i")), "rejected": "j"}
    [preview] = previews([row], chat_template=TEMPLATE)
    assert [each.kind for each in preview.chosen if each.text is None] == ["trained", "untrained"] * 4 + ["trained"]
    assert parts(preview)[1].startswith("a<</s>>(z:a)")
    assert parts(preview)[1].endswith("(y:)i<</s>>")


def test_ids_without_a_tokenizer_are_numbers():
    tally, config = Tally(), TokenizeConfig()
    list(config.pairs([{"prompt_ids": [7, 8], "chosen_ids": [9, 10], "rejected_ids": [11]}], tally))
    [preview] = [preview_of(each, config.limits, None) for each in tally.examples.found()]
    assert parts(preview) == ["7 8", "9 10", "11"]


def test_an_id_that_the_tokenizer_does_not_know_is_shown_by_its_number():
    pair = Pair([BOS, 500], [*ids("a"), EOS], [501], index=3)
    preview = preview_of(Example(Joined(*pair[:3]), pair), Limits(), tokenizer())
    assert parts(preview) == ["<<s>><#500>", "a<</s>>", "<#501>"]


def test_a_space_at_the_border_is_shown_whatever_the_tokenizer_makes_of_it(shared):
    """A tokenizer of sentencepiece writes no space in front of the first word that it decodes."""
    from transformers import AutoTokenizer

    from easydel import quickstart

    row = {"prompt": "One day, a girl", "chosen": " was  sad.", "rejected": " saw é狐"}
    for folder in (shared / "models" / "stories260k", quickstart.model_folder()):
        config, tally = TokenizeConfig(AutoTokenizer.from_pretrained(str(folder))), Tally()
        list(config.pairs([row], tally))
        [preview] = [preview_of(each, config.limits, config.tokenizer) for each in tally.examples.found()]
        texts = ["".join(e.text for e in part if not e.special) for part in preview[2:5]]
        assert [texts[0].lstrip(), *texts[1:]] == [row["prompt"], row["chosen"], row["rejected"]]


def test_bytes_that_are_half_a_character_are_shown_on_both_sides_of_the_border():
    from transformers import AutoTokenizer

    from easydel import quickstart

    made = AutoTokenizer.from_pretrained(str(quickstart.model_folder()))
    [first, second] = made("é")["input_ids"]
    pair = Pair([*made("a caf")["input_ids"], first], [second, *made(" bar")["input_ids"]], [second])
    preview = preview_of(Example(Joined(*pair[:3]), pair), Limits(), made)
    assert parts(preview) == ["a caf\ufffd", "\ufffd bar", "\ufffd"]


def test_white_space_that_was_added_to_a_vocabulary_is_text():
    made = tokenizer()
    made.add_tokens([AddedToken("  ", normalized=False), AddedToken("thought", normalized=False)])
    pair = Pair(made("a  b")["input_ids"], made("thought")["input_ids"][1:], ids("c"))
    assert parts(preview_of(Example(Joined(*pair[:3]), pair), Limits(), made)) == ["<<s>>a  b", "<thought>", "c"]


TOKENIZER = tokenizer()
tokens = st.lists(st.integers(0, len(CHARACTERS) + 3), min_size=1, max_size=40)
sizes = st.one_of(st.none(), st.integers(2, 40))


@given(
    st.tuples(tokens, tokens, tokens),
    st.builds(Limits, sizes, sizes, sizes, st.sampled_from(TRUNCATION_MODES)),
    st.randoms(use_true_random=False),
    st.builds(Room, st.integers(0, 3), st.integers(1, 5)),
)
def test_the_segments_hold_every_token_of_the_row_and_of_the_pair_in_order(sides, limits, random, room):
    masks = [[random.random() < 0.7 for _ in side] if random.random() < 0.5 else None for side in sides[1:]]
    joined = Joined(*sides, chosen_trained=masks[0], rejected_trained=masks[1])
    pair = truncate(Pair(*sides, chosen_trained=masks[0], rejected_trained=masks[1]), limits).pair
    if pair is None:
        return
    preview = preview_of(Example(joined, pair), limits, TOKENIZER, room)
    for name, whole in (("chosen", joined.chosen), ("rejected", joined.rejected)):
        seen = [*preview.prompt, *getattr(preview, name)]
        flat = [(each.kind, token) for each in seen for token in each.ids]
        assert [token for _, token in flat] == joined.prompt + whole
        assert [token for kind, token in flat if kind != "cut"] == pair.prompt + getattr(pair, name)
        side, context = getattr(pair, name), getattr(pair, f"{name}_context")
        trained = getattr(pair, f"{name}_trained") or [at >= context for at in range(len(side))]
        kept = [kind for kind, _ in flat if kind != "cut"]
        assert kept.count("prompt") == len(pair.prompt) + context
        assert [kind == "trained" for kind in kept[len(pair.prompt) :]] == trained


def test_rows_worth_a_look_are_the_first_and_the_first_of_each_kind():
    examples = Examples()
    plain = Joined([1], [2], [3])
    for index, joined, causes in (
        (0, plain, ()),
        (1, plain, ("max_length",)),
        (2, plain._replace(merged=1), ("max_length",)),
        (3, plain._replace(merged=3, lost=("the tools",)), ()),
        (4, plain._replace(merged=3), ()),
    ):
        examples.add(joined, Pair([1], [2], [3], index=index), causes)
    assert [(each.pair.index, each.reasons) for each in examples.found()] == [
        (0, (FIRST,)),
        (1, ("cut by max_length",)),
        (3, (MERGED, "left out by the chat template: the tools")),
    ]
