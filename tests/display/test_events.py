"""What a program is told by a run is what docs/terminal.md says."""

import json
import re
from pathlib import Path

from oracles.runs import held_out_trainer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "terminal.md"
ROW = re.compile(r"^\| (`\w+`(?:, `\w+`)*) \| [^|]* \| (.*) \|$", re.MULTILINE)
NAME = re.compile(r"`(\w+)`")


def documented() -> dict[str, set[str]]:
    """Returns the fields of each event in the table; what stands in brackets explains the one before."""
    found = {}
    for events, fields in ROW.findall(PAGE.read_text(encoding="utf-8").partition("## For a program")[2]):
        names = set(NAME.findall(re.sub(r"\([^)]*\)", "", fields)))
        found |= dict.fromkeys(NAME.findall(events), names)
    return found


def test_every_event_of_a_run_has_the_fields_of_the_page(tmp_path: Path, capsys):
    held_out_trainer(tmp_path, progress_bar_type="json", precompute_ref_log_probs=True, cache_directory=None).train()
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    pages = documented()
    for event in events:
        assert set(event) - {"event", "time"} == pages[event["event"]], event["event"]
    kinds = [event["event"] for event in events]
    assert {"start", "work", "log", "evaluation", "message", "end"} == set(kinds)
    assert (kinds.count("start"), kinds.count("log"), kinds[-1]) == (1, 3, "end")
    works = {event["work"] for event in events if event["event"] == "work"}
    assert works >= {
        *("tokenize train_dataset", "tokenize eval_dataset", "reference of train_dataset", "evaluate eval_dataset"),
        *("dpo", "save checkpoint", "save"),
    }
    assert not {event["work"] for event in events if event.get("state") == "failed"}
    last = {event["work"]: event["state"] for event in events if event["event"] == "work"}
    assert set(last.values()) == {"done"}
