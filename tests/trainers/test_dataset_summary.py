"""What a run shows of its data before it trains: in the terminal, for a program and in `data.json`."""

import json
from pathlib import Path

import pytest

import easydel as ed
from easydel.data.column_names import read_columns
from easydel.data.counts import Tally
from easydel.data.pair import Limits
from easydel.data.prepare import TokenizeConfig
from easydel.trainers.dataset_summary import DatasetSummary, summarize_dataset, write_data
from oracles.runs import config, held_out_trainer, id_rows, tiny_model
from oracles.tokenizers import tiny_tokenizer

ROW = {"prompt": "sky", "chosen": "blue", "rejected": "red"}


def shown(rows, columns=None, **limits) -> DatasetSummary:
    tally, tokenizing = Tally(), TokenizeConfig(tiny_tokenizer(), Limits(**limits), columns=read_columns(columns))
    list(tokenizing.pairs(rows, tally))
    return summarize_dataset(tally, tokenizing)


def line(found: DatasetSummary, label: str) -> str:
    return next("".join(piece.text for piece in text) for name, text in found.lines("train") if name.strip() == label)


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        ([ROW], None, "prompt, chosen, rejected"),
        ([ROW | {"source": "a book", "id": 3}], None, "prompt, chosen, rejected; ignored: source, id"),
        ([ROW | {"note": None}, ROW | {"note": ""}], None, "prompt, chosen, rejected; ignored: note (empty)"),
        ([ROW, ROW | {"source": 3}], None, "prompt, chosen, rejected; ignored: source in 1 row"),
        ([ROW | {"weight": 1}], None, "prompt, chosen, rejected, weight (1)"),
        (
            [ROW | {"weight": 0.5, "margin": 2}, ROW, ROW | {"margin": -1.25}],
            None,
            "prompt, chosen, rejected, weight (0.5 to 1) in 1 row, margin (-1.25 to 2) in 2 rows",
        ),
        (
            [{"ask": "sky", "chosen": "blue", "rejected": "red", "w": 3, "context": "b"}],
            {"prompt": "ask", "weight": "w", "ignore": "context"},
            "chosen, rejected, ask as prompt, w as weight (3); ignored: context",
        ),
        ([ROW | {"e\x1b[2Jvil\ud800": 1}], None, "prompt, chosen, rejected; ignored: e\\x1b[2Jvil\\ud800"),
    ],
)
def test_the_columns_that_are_read_and_ignored_are_named_with_the_numbers_in_use(rows, columns, expected):
    columns_line = line(shown(rows, columns), "columns")
    assert sorted(columns_line.replace(";", ",").split(", ")) == sorted(expected.replace(";", ",").split(", "))


def test_a_row_of_hundreds_of_columns_and_long_names_leaves_a_line_that_can_be_read():
    many = line(shown([ROW | {f"score {at}": at for at in range(300)}]), "columns")
    assert many.endswith("; ignored: " + ", ".join(f"score {at}" for at in range(24)) + ", and 276 more")
    assert line(shown([ROW | {"n" * 10_000: 1}]), "columns").endswith("; ignored: " + "n" * 59 + "…")


def test_a_pair_that_counts_for_more_is_shown_with_its_numbers():
    found = shown([ROW | {"weight": 0.25, "margin": 2}])
    assert line(found, "row 0") == "tokens: 4 prompt, 5 chosen, 4 rejected, weight 0.25, margin 2"


def test_the_file_holds_what_a_program_is_told_and_any_name_of_a_column(tmp_path: Path):
    found = shown([ROW | {"half \ud800": 1}, ROW | {"chosen": "blue" * 9}], max_length=12)
    write_data(tmp_path, {"train": found})
    read = json.loads((tmp_path / "data.json").read_text(encoding="utf-8"))
    assert read == json.loads(json.dumps({"train": found.values()}))
    assert read["train"]["columns"]["ignored"] == {"half \ud800": 1}
    first, cut = read["train"]["previews"]
    assert (first["row"], first["reasons"]) == (0, ["the first row kept"])
    assert (cut["row"], cut["reasons"]) == (1, ["cut by max_length"])
    assert [(each["kind"], each["tokens"]) for each in cut["chosen"]] == [("trained", 8), ("cut", 28), ("cut", 1)]


def test_every_set_of_a_run_is_shown_in_the_terminal_and_in_the_file(tmp_path: Path, capsys):
    sets = {"easy": id_rows(2), "hard": [each | {"weight": 2.0} for each in id_rows(2, seed=1)]}
    held_out_trainer(tmp_path, sets, progress_bar_type="tqdm").train()
    said = capsys.readouterr().out
    data = json.loads((tmp_path / "dpo" / "data.json").read_text(encoding="utf-8"))
    for name, rows, words in (
        ("train", id_rows(12), "train"),
        ("eval_easy", sets["easy"], "eval, easy"),
        ("eval_hard", sets["hard"], "eval, hard"),
    ):
        part = said[said.index(f"rows, {words} ") :]
        # Without a tokenizer the tokens are numbers.
        for column in ("prompt", "chosen", "rejected"):
            text = " ".join(map(str, rows[0][f"{column}_ids"]))
            assert f"  {column}" in part
            assert text in part
            assert data[name]["previews"][0][column][0]["text"] == text
    assert "rejected_ids, weight (2)" in said
    assert data["eval_hard"]["weights"] == [2.0, 2.0]


def test_of_a_stream_the_first_rows_are_shown_before_it_is_trained_on(tmp_path: Path, capsys):
    rows = id_rows(24)
    ed.DPOTrainer(
        arguments=config(tmp_path, max_training_steps=6, shuffle_buffer_size=4, progress_bar_type="json"),
        model=tiny_model(),
        train_dataset=(each for each in rows),
    ).train()
    events = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    told = next(event for event in events if event["event"] == "start")["data"]["train"]
    assert told["previews"][0]["prompt"][0]["text"] == " ".join(map(str, rows[0]["prompt_ids"]))
    assert told["columns"]["read"].keys() == {"prompt_ids", "chosen_ids", "rejected_ids"}
    file = json.loads((tmp_path / "dpo" / "data.json").read_text(encoding="utf-8"))["train"]
    assert file["columns"]["rows"] == file["rows"] == 24  # written again at the end
    assert file["previews"] == told["previews"]
