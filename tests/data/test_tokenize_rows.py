import multiprocessing
import subprocess
import sys
import time
from contextlib import closing
from itertools import count, islice
from pathlib import Path

import pytest

from easydel.data import tokenize_rows
from easydel.data.render import to_preference
from easydel.data.tokenize import Joined, tokenize
from easydel.data.tokenize_rows import ROWS_AT_ONCE, read_rows, read_tokens
from easydel.errors import ConfigError, DataError
from oracles.tokenizers import tiny_tokenizer

TEMPLATE = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}</s>{% endfor %}"
WORDS = ("sky", "ab", "blue", "x a", "grass")


def rows_of(number: int) -> list[dict]:
    """Rows of text, of conversations and of token ids, whose texts say which they are."""
    rows = []
    for at in range(number):
        word, other = WORDS[at % 5], WORDS[at // 5 % 5]
        if at % 7 == 3:
            rows.append({"prompt_ids": [1, at], "chosen_ids": [2], "rejected_ids": [3, 3], "weight": at})
        elif at % 7 == 5:
            rows.append({"messages": [{"role": "user", "content": word}], "chosen": other, "rejected": word + other})
        else:
            rows.append({"prompt": word, "chosen": other, "rejected": word + other, "margin": at})
    return rows


def test_other_processes_give_the_same_rows_in_the_same_order_and_end():
    tokenizer = tiny_tokenizer(chat_template=TEMPLATE)
    rows = rows_of(3 * ROWS_AT_ONCE + 5)
    assert list(read_rows(rows, tokenizer, dataset_num_proc=2)) == list(read_rows(rows, tokenizer))
    assert multiprocessing.active_children() == []


def test_processes_end_and_read_no_further_when_the_rows_are_left_early():
    taken = count()
    endless = (row | {"number": next(taken)} for _ in count() for row in rows_of(35))
    with closing(read_rows(endless, tiny_tokenizer(chat_template=TEMPLATE), dataset_num_proc=2)) as found:
        assert [row.number for row in islice(found, 600)] == list(range(600))
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []
    assert next(taken) <= 8 * ROWS_AT_ONCE


def test_a_bad_row_in_another_process_is_the_same_error():
    rows = [*rows_of(600), {"prompt": "x", "chosen": 3, "rejected": "y"}]
    with pytest.raises(DataError, match="row 600: 'chosen' is 3"):
        list(read_rows(rows, tiny_tokenizer(chat_template=TEMPLATE), dataset_num_proc=2))
    assert multiprocessing.active_children() == []


def test_a_tokenizer_that_cannot_be_sent_is_an_error_that_says_so():
    tokenizer = tiny_tokenizer()
    tokenizer.own = lambda: None
    with pytest.raises(ConfigError, match=r"dataset_num_proc sends the tokenizer .* cannot be pickled"):
        list(read_rows(rows_of(3), tokenizer, dataset_num_proc=2))


def test_rows_of_ids_without_a_tokenizer_start_no_process(monkeypatch):
    monkeypatch.setattr(tokenize_rows, "ProcessPoolExecutor", None)
    rows = [{"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]}]
    assert len(list(read_rows(rows, None, dataset_num_proc=4))) == 1


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from easydel.data.prepare import prepare
from oracles.tokenizers import tiny_tokenizer

if {guard}:
    rows = [{{"prompt": "sky", "chosen": "blue", "rejected": "red"}}] * 9
    print(prepare(rows, tiny_tokenizer(), dataset_num_proc=2).counts.kept)
"""
KILLED = """
import multiprocessing, os, signal, sys
sys.path.insert(0, {tests!r})
from easydel.data.tokenize_rows import read_rows
from oracles.tokenizers import tiny_tokenizer

if __name__ == "__main__":
    rows = ({{"prompt": "sky", "chosen": "blue", "rejected": "red"}} for _ in iter(int, 1))
    next(read := read_rows(rows, tiny_tokenizer(), dataset_num_proc=2))
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def run(folder: Path, script: str, **values: str) -> subprocess.CompletedProcess[str]:
    path = folder / "script.py"
    path.write_text(script.format(tests=str(Path(__file__).parents[1]), **values))
    return subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=100)


def test_a_script_without_its_guard_is_told_so(tmp_path):
    assert run(tmp_path, SCRIPT, guard="__name__ == '__main__'").stdout == "9\n"
    done = run(tmp_path, SCRIPT, guard="True")
    assert done.returncode == 1
    assert "ConfigError: a process of dataset_num_proc = 2 ended before its work. A script that trains" in done.stderr


def test_processes_end_with_a_parent_that_is_killed(tmp_path):
    workers = [int(word) for word in run(tmp_path, KILLED).stdout.split()]
    assert len(workers) == 2
    until = time.monotonic() + 20
    while any(map(is_running, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_running, workers))


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


TEXT = {"prompt": "sky", "chosen": "blue", "rejected": "red"}
IDS = {"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]}


def test_rows_of_ids_text_and_without_a_pair_keep_their_order():
    tokenizer = tiny_tokenizer()
    [text] = tokenize([to_preference(TEXT, 0)], tokenizer)
    dropped = Joined([], [], [], dropped="a completion is empty")
    found = read_tokens([IDS, TEXT, {**TEXT, "chosen": ""}, IDS, TEXT], 0, tokenizer)
    assert found == [Joined([1], [2], [3]), text, dropped, Joined([1], [2], [3]), text]


def test_rows_of_ids_need_no_tokenizer_and_rows_of_text_do():
    assert read_tokens([IDS], 0, None) == [Joined([1], [2], [3])]
    with pytest.raises(DataError, match="the rows are text, but no tokenizer was given"):
        read_tokens([IDS, TEXT], 0, None)


def test_rows_are_numbered_from_the_first():
    with pytest.raises(DataError, match="row 513 has no 'rejected'"):
        read_tokens([TEXT, {"prompt": "a", "chosen": "b"}], 512, tiny_tokenizer())
