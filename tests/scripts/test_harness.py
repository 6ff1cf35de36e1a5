"""lm-eval asks one of our models, and is told what its logits say. `make oracle` installs lm-eval."""

import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from easydel.errors import ConfigError
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.scripts.evaluate import main
from oracles.cases import CASES
from oracles.folders import write_model
from oracles.tokenizers import ids, tiny_tokenizer

# lm-eval and what it imports, about themselves.
pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

TASK = """
task: abc
dataset_path: json
dataset_kwargs:
  data_files: {file}
test_split: train
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: acc
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = write_model(tmp_path_factory.mktemp("model"), CASES["llama-gqa"])
    tiny_tokenizer().save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def asked(folder):
    """The model as lm-eval sees it."""
    pytest.importorskip("lm_eval")
    from easydel.scripts.harness import HarnessLM

    one = (1, 1, 1, 1, 1)
    model = AutoEasyDeLModelForCausalLM.from_pretrained(folder, sharding_axis_dims=one, dtype="float32")
    return HarnessLM(model, tiny_tokenizer(), batch_size=2, max_length=64)


def logps_of(model, tokens):
    """Returns the log-probabilities of all tokens but the first, and the likeliest tokens, from the plain logits."""
    logits = np.asarray(model(np.array([tokens])).logits[0, :-1])
    logps = np.asarray(jax.nn.log_softmax(logits))
    return logps[np.arange(len(tokens) - 1), tokens[1:]], logits.argmax(1)


def request(*arguments):
    return SimpleNamespace(args=arguments)


def test_the_likelihood_of_a_continuation_is_that_of_its_tokens_after_the_context(asked):
    texts = [("say", " yes"), ("ask me", " no thanks"), ("", "alone")]
    found = asked.loglikelihood([request(*text) for text in texts], disable_tqdm=True)
    for (context, continuation), (logp, greedy) in zip(texts, found, strict=True):
        tokens = [1, *ids(context + continuation)]
        logps, best = logps_of(asked.model, tokens)
        count = len(ids(continuation))
        assert logp == pytest.approx(logps[-count:].sum(), abs=1e-4)
        assert greedy == bool((best[-count:] == tokens[-count:]).all())


def test_attention_is_told_that_each_row_is_one_sequence(asked, monkeypatch):
    from easydel.models import mixing
    from easydel.scripts.harness import HarnessLM

    told, real = [], mixing.packed_attention

    def noted(*arguments, sequences, **settings):
        told.append((len(arguments[1]), sequences))
        return real(*arguments, sequences=sequences, **settings)

    monkeypatch.setattr(mixing, "packed_attention", noted)
    HarnessLM(asked.model, tiny_tokenizer(), batch_size=3).loglikelihood([request("say", " yes")], disable_tqdm=True)
    assert told == [(3, 3)]


def test_what_is_written_is_what_the_model_generates_up_to_an_end(asked):
    contexts, tokenizer = ("say", "ask me"), tiny_tokenizer()
    expected = []
    for context in contexts:
        tokens = np.array([[1, *ids(context)]])
        out = asked.model.generate(tokens, max_new_tokens=9, eos_token_id=2)[0, tokens.shape[1] :]
        expected.append(tokenizer.decode(out, skip_special_tokens=True))
    settings = {"until": [], "max_gen_toks": 9}
    assert asked.generate_until([request(context, settings) for context in contexts]) == expected
    text = max(expected, key=len)
    context, end = contexts[expected.index(text)], text[len(text) // 2]
    assert asked.generate_until([request(context, settings | {"until": [end]})]) == [text.split(end)[0]]


def test_a_task_that_samples_draws_anew_for_each_answer(asked):
    settings = {"do_sample": True, "max_gen_toks": 12}  # at temperature 1, as nothing else is said
    answers = asked.generate_until([request("say", settings)] * 6)  # in batches of two
    assert len(set(answers)) == 6


def test_a_task_that_leaves_no_room_for_its_context_is_an_error_with_both_numbers(asked):
    with pytest.raises(ConfigError, match=r"64 new tokens \(max_gen_toks\).* max_length = 64"):
        asked.generate_until([request("say", {"max_gen_toks": 64})])


def test_a_long_text_is_scored_in_windows_that_do_not_overlap(asked):
    from easydel.scripts.harness import HarnessLM

    text = "abcabc the rest of it"
    tokens = ids(text)
    [whole] = asked.loglikelihood_rolling([request(text)])
    assert whole == pytest.approx(logps_of(asked.model, [1, *tokens])[0].sum(), abs=1e-4)
    # Windows of 8 tokens: the first after <s>, each of the rest after the last token of the one before.
    [cut] = HarnessLM(asked.model, tiny_tokenizer(), max_length=9).loglikelihood_rolling([request(text)])
    starts = range(0, len(tokens), 8)
    parts = [[1, *tokens][at : at + 9] for at in starts if len(tokens[at : at + 8]) == 8]
    expected = sum(logps_of(asked.model, part)[0].sum() for part in parts)
    rest = len(tokens) % 8
    if rest:
        last = [1, *tokens][-9:]
        expected += logps_of(asked.model, last)[0][-rest:].sum()
    assert cut == pytest.approx(expected, abs=1e-3)


def test_a_task_of_ones_own_is_measured_from_the_command_line(folder, asked, tmp_path, capsys):
    rows = [{"question": q, "choices": ["a", "bb", "c."], "answer": 0} for q in ("one", "two", "three", "four")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "abc.yaml").write_text(TASK.format(file=tmp_path / "rows.jsonl"))
    flags = ["--repo_id", folder, "--tasks", "abc", "--include_path", tmp_path, "--output", tmp_path / "found.json"]
    assert main([*map(str, flags), "--sharding_axis", "1,1,1,1,1", "--max_length", "64"]) == 0
    found = json.loads((tmp_path / "found.json").read_text())["abc"]["acc,none"]
    right = 0
    for row in rows:
        scores = [
            logps_of(asked.model, [1, *ids(f"{row['question']} {choice}")])[0][-len(ids(f" {choice}")) :].sum()
            for choice in row["choices"]
        ]
        right += int(np.argmax(scores)) == 0
    assert found == right / len(rows)
    assert "|abc  |" in capsys.readouterr().out


def test_an_unknown_task_is_an_error_in_a_sentence(folder, asked, capsys):
    assert main(["--repo_id", str(folder), "--tasks", "hellaswagg"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown lm-eval task 'hellaswagg'. Did you mean 'hellaswag")
