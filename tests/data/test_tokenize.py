import pytest

from easydel.data.render import Preference, to_preference
from easydel.data.tokenize import Joined, tokenize
from easydel.errors import DataError
from oracles.tokenizers import BOS, EOS, ids, tiny_tokenizer

pytestmark = pytest.mark.quick

TEMPLATE = (
    "<s>{% for m in messages %}{{ m.role[0] }}:{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}a:{% if think %}hm{% endif %}{% endif %}"
)


def text(prompt: str, chosen: str, rejected: str) -> Preference:
    return Preference(prompt, prompt + chosen, prompt + rejected, templated=False)


def only(preference: Preference, tokenizer) -> Joined:
    [joined] = tokenize([preference], tokenizer)
    return joined


def test_text_begins_with_bos_and_each_completion_ends_in_eos():
    assert only(text("sky", "blue", "red"), tiny_tokenizer()) == Joined(
        [BOS, *ids("sky")], [*ids("blue"), EOS], [*ids("red"), EOS]
    )


def test_eos_that_the_text_already_has_is_not_doubled():
    joined = only(text("sky", "blue</s>", "red"), tiny_tokenizer())
    assert joined.chosen == [*ids("blue"), EOS]
    assert joined.rejected == [*ids("red"), EOS]


def test_eos_that_the_tokenizer_adds_is_not_doubled_and_does_not_end_the_prompt():
    joined = only(text("sky", "blue", "red</s>"), tiny_tokenizer(eos=True))
    assert joined == Joined([BOS, *ids("sky")], [*ids("blue"), EOS], [*ids("red"), EOS])


def test_bos_that_the_text_already_has_is_not_doubled():
    assert only(text("<s>sky", "blue", "red"), tiny_tokenizer()).prompt == [BOS, *ids("sky")]


def test_a_tokenizer_without_bos_adds_none():
    assert only(text("sky", "blue", "red"), tiny_tokenizer(bos=False)).prompt == ids("sky")


def test_completions_start_where_a_token_merges_across_the_end_of_the_prompt():
    """`xa` + `bc` is x ab c: the prompt keeps x, and both sides start after it, `a` being part of the rejected."""
    assert only(text("xa", "bc", "d"), tiny_tokenizer()) == Joined(
        [BOS, *ids("x")], [*ids("ab"), *ids("c"), EOS], [*ids("a"), *ids("d"), EOS], merged=True
    )


def test_the_smaller_common_beginning_counts_for_both_sides_whichever_merges():
    assert only(text("xa", "d", "bc"), tiny_tokenizer()).chosen == [*ids("ad"), EOS]


def test_templated_text_gets_no_special_tokens_but_its_own():
    tokenizer = tiny_tokenizer(eos=True)
    preference = Preference("<s>u:hi</s>a:", "<s>u:hi</s>a:yo</s>\n", "<s>u:hi</s>a:no</s>\n", templated=True)
    assert only(preference, tokenizer) == Joined(
        [BOS, *ids("u:hi"), EOS, *ids("a:")], [*ids("yo"), EOS, *ids("\n")], [*ids("no"), EOS, *ids("\n")]
    )


def conversation(**more):
    return {
        "prompt": [{"role": "user", "content": "hi"}],
        "chosen": [{"role": "assistant", "content": "yo"}],
        "rejected": [{"role": "assistant", "content": "no"}],
    } | more


def test_a_conversation_goes_through_the_chat_template():
    tokenizer = tiny_tokenizer(chat_template=TEMPLATE)
    joined = only(to_preference(conversation(), 0, tokenizer), tokenizer)
    assert joined == Joined([BOS, *ids("u:hi"), EOS, *ids("a:")], [*ids("yo"), EOS], [*ids("no"), EOS])


def test_what_the_template_adds_to_the_prompt_alone_is_cut_and_counted():
    tokenizer = tiny_tokenizer(chat_template=TEMPLATE)
    row = conversation(chat_template_kwargs={"think": True})
    joined = only(to_preference(row, 0, tokenizer), tokenizer)
    assert joined.prompt == [BOS, *ids("u:hi"), EOS, *ids("a:")]
    assert joined.merged


def test_rows_keep_their_order_when_text_and_conversations_are_mixed():
    tokenizer = tiny_tokenizer(chat_template=TEMPLATE)
    chat = to_preference(conversation(), 1, tokenizer)
    rows = [text("a", "c", "d"), chat, text("b", "c", "d")]
    assert tokenize(rows, tokenizer) == [only(row, tokenizer) for row in rows]


def test_a_tokenizer_without_eos_is_an_error():
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(DataError, match="no eos_token"):
        only(text("a", "c", "d"), tokenizer)


def test_a_tokenizer_without_chat_template_is_an_error_that_shows_the_way_out():
    with pytest.raises(DataError, match=r"row 4 holds conversations, .* Set tokenizer.chat_template"):
        to_preference(conversation(), 4, tiny_tokenizer())


def test_a_conversation_that_the_template_refuses_names_the_row():
    template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(
        DataError, match="row 4: the chat template cannot render the conversation: roles must alternate"
    ):
        to_preference(conversation(), 4, tiny_tokenizer(chat_template=template))


def test_content_that_the_template_cannot_join_names_the_row():
    row = conversation(prompt=[{"role": "user", "content": "hi", "name": 3}])
    template = "{% for m in messages %}{{ m.role + m.name }}{% endfor %}"
    with pytest.raises(
        DataError, match="row 4: the chat template cannot render the conversation: can only concatenate"
    ):
        to_preference(row, 4, tiny_tokenizer(chat_template=template))


def test_template_arguments_that_are_ours_are_refused():
    row = conversation(chat_template_kwargs={"tokenize": True})
    with pytest.raises(DataError, match="row 4: 'chat_template_kwargs' may not set tokenize"):
        to_preference(row, 4, tiny_tokenizer(chat_template=TEMPLATE))
