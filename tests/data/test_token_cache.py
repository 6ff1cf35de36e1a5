import json
import pickle

import pytest

from easydel.data import token_cache, tokenize_rows
from easydel.data.prepare import prepare
from easydel.data.token_cache import MIN_ROWS, tokenizer_key
from oracles.tokenizers import tiny_tokenizer

TEMPLATE = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}</s>{% endfor %}"
ROWS = [{"prompt": f"sky {'x' * (n % 50)}", "chosen": "blue", "rejected": "red" * (n % 3 + 1)} for n in range(MIN_ROWS)]


@pytest.fixture
def tokenized(monkeypatch) -> list[int]:
    """The numbers of the chunks that are tokenized, by their first rows."""
    seen = []

    def spy(rows, first, tokenizer):
        seen.append(first)
        return original(rows, first, tokenizer)

    original = tokenize_rows.read_tokens
    monkeypatch.setattr(tokenize_rows, "read_tokens", spy)
    return seen


def files(folder):
    return sorted((folder / "tokens").iterdir())


def test_the_second_time_nothing_is_tokenised_and_the_pairs_are_the_same(tmp_path, tokenized):
    plain = prepare(ROWS, tiny_tokenizer())
    tokenized.clear()
    first = prepare(ROWS, tiny_tokenizer(), cache_directory=str(tmp_path))
    assert tokenized == [0, 512, 1024, 1536]
    tokenized.clear()
    again = prepare(iter(ROWS), tiny_tokenizer(), cache_directory=str(tmp_path))
    assert tokenized == []
    assert plain == first == again


def test_limits_weights_and_other_columns_do_not_ask_for_tokenising_again(tmp_path, tokenized):
    prepare(ROWS, tiny_tokenizer(), cache_directory=str(tmp_path))
    tokenized.clear()
    rows = [row | {"weight": 2.0, "source": "a book"} for row in ROWS]
    found = prepare(rows, tiny_tokenizer(), cache_directory=str(tmp_path), max_length=40, truncation_mode="keep_end")
    assert tokenized == []
    assert found == prepare(rows, tiny_tokenizer(), max_length=40, truncation_mode="keep_end")
    assert found.pairs[0].weight == 2.0


def test_of_a_dataset_that_changed_only_the_changed_part_is_tokenised(tmp_path, tokenized):
    prepare(ROWS, tiny_tokenizer(), cache_directory=str(tmp_path))
    tokenized.clear()
    changed = list(ROWS)
    changed[600] = changed[600] | {"chosen": "green"}
    found = prepare([*changed, *ROWS[:100]], tiny_tokenizer(), cache_directory=str(tmp_path))
    assert tokenized == [512, 1536, 2048]  # the one with the change, the last, which grew, and a new one
    assert found == prepare([*changed, *ROWS[:100]], tiny_tokenizer())


def test_few_short_rows_and_rows_of_ids_are_not_worth_a_file(tmp_path):
    ids = [{"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]}] * MIN_ROWS
    for rows in (ROWS[:-1], ids):
        prepare(rows, tiny_tokenizer(), cache_directory=str(tmp_path))
        assert not (tmp_path / "tokens").exists()
    long = [row | {"chosen": "blue" * 20_000} for row in ROWS[:20]]
    prepare(long, tiny_tokenizer(), cache_directory=str(tmp_path))
    assert len(files(tmp_path)) == 1


def test_rows_of_more_than_plain_values_are_tokenised_every_time(tmp_path, tokenized):
    """Nothing tells two objects apart but their code: such rows have no name of their own."""
    said = [{"role": "user", "content": "sky"}]
    rows = [{"messages": said, "chosen": "x", "rejected": "y", "chat_template_kwargs": {"own": object()}}] * MIN_ROWS
    tokenizer = tiny_tokenizer(chat_template=TEMPLATE)
    for _ in range(2):
        tokenized.clear()
        prepare(rows, tokenizer, cache_directory=str(tmp_path))
        assert tokenized == [0, 512, 1024, 1536]
    assert files(tmp_path) == []


def test_a_damaged_file_is_made_again_with_a_message(tmp_path, tokenized):
    plain = prepare(ROWS, tiny_tokenizer(), cache_directory=str(tmp_path))
    victim = files(tmp_path)[1]
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-9])
    tokenized.clear()
    with pytest.warns(UserWarning, match=f"{victim.name} in the cache is not used: it is damaged or cut short"):
        again = prepare(ROWS, tiny_tokenizer(), cache_directory=str(tmp_path))
    assert again == plain
    assert len(tokenized) == 1
    assert victim.read_bytes() == whole


def test_a_file_of_other_rows_under_the_name_of_these_is_not_used(tmp_path):
    prepare(ROWS, tiny_tokenizer(), cache_directory=str(tmp_path))
    one, other, *_ = files(tmp_path)
    one.write_bytes(other.read_bytes())
    with pytest.warns(UserWarning, match="it was written for other content"):
        assert prepare(ROWS, tiny_tokenizer(), cache_directory=str(tmp_path)) == prepare(ROWS, tiny_tokenizer())


def test_processes_keep_and_find_the_same_files(tmp_path, tokenized):
    prepare(ROWS, tiny_tokenizer(), cache_directory=str(tmp_path), dataset_num_proc=2)
    kept = [file.read_bytes() for file in files(tmp_path)]
    prepare(ROWS, tiny_tokenizer(), cache_directory=str(tmp_path))
    assert tokenized == []
    assert [file.read_bytes() for file in files(tmp_path)] == kept


def test_a_disk_that_is_full_costs_the_cache_and_not_the_run(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(token_cache, "write_arrays", full)
    with pytest.warns(UserWarning, match="token ids are not kept in .*: No space left on device") as warned:
        assert prepare(ROWS, tiny_tokenizer(), cache_directory=str(tmp_path)) == prepare(ROWS, tiny_tokenizer())
    assert len(warned) == 1


def test_the_key_of_a_tokenizer_tells_apart_what_tokenises_differently():
    more_words = tiny_tokenizer()
    more_words.add_tokens(["blue"])
    other_end = tiny_tokenizer()
    other_end.eos_token = "<unk>"
    tokenizers = [
        tiny_tokenizer(),
        tiny_tokenizer(bos=False),
        tiny_tokenizer(eos=True),
        tiny_tokenizer(chat_template=TEMPLATE),
        tiny_tokenizer(chat_template=TEMPLATE + " "),
        more_words,
        other_end,
    ]
    assert len({tokenizer_key(tokenizer) for tokenizer in tokenizers}) == len(tokenizers)


def test_the_key_of_a_tokenizer_does_not_depend_on_where_it_came_from(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = tiny_tokenizer(chat_template=TEMPLATE)
    for folder in ("a", "b"):
        tokenizer.save_pretrained(str(tmp_path / folder))
    keys = {tokenizer_key(AutoTokenizer.from_pretrained(tmp_path / folder)) for folder in ("a", "b")}
    keys.add(tokenizer_key(AutoTokenizer.from_pretrained(str(tmp_path / "a"), local_files_only=True)))
    assert len(keys) == 1
    assert tokenizer_key(tokenizer) == tokenizer_key(pickle.loads(pickle.dumps(tokenizer)))


def test_a_template_that_writes_the_date_is_used_for_a_day(monkeypatch):
    class Tomorrow:
        @staticmethod
        def today():
            return token_cache_date.fromordinal(token_cache_date.today().toordinal() + 1)

    token_cache_date = token_cache.date
    dated, plain = tiny_tokenizer(chat_template=TEMPLATE + "{{ strftime_now('%d') }}"), tiny_tokenizer()
    before = tokenizer_key(dated), tokenizer_key(plain)
    monkeypatch.setattr(token_cache, "date", Tomorrow)
    after = tokenizer_key(dated), tokenizer_key(plain)
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_the_texts_of_conversations_are_part_of_the_key(tmp_path, tokenized):
    tokenizer = tiny_tokenizer(chat_template=TEMPLATE)
    said = [[{"role": "user", "content": "sky"}], json.loads('[{"role": "system", "content": "sky"}]')]
    for messages in said:
        rows = [{"messages": messages, "chosen": "blue", "rejected": "red"}] * MIN_ROWS
        tokenized.clear()
        found = prepare(rows, tokenizer, cache_directory=str(tmp_path))
        assert 0 in tokenized
        assert found == prepare(rows, tokenizer)
