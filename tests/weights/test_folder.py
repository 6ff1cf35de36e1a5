"""Saving over a folder: nothing that lay there wins over what was saved, and nothing that a user had is lost."""

import pytest

from easydel.weights.folder import replace_folder

# Of another model, its tokenizer, adapters; and what a user has beside them.
OLD_WEIGHTS = [
    *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"),
    *("adapter_config.json", "adapter_model.safetensors", "generation_config.json"),
]
OTHERS = [
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "adapter_model.bin",
    "model.fp16.safetensors",
    "my.safetensors",
]
TOKENIZER = ["chat_template.jinja", "additional_chat_templates/tool_use.jinja", "tokenizer.model", "added_tokens.json"]
USERS = ["notes.txt", "logs/run.txt", ".git/HEAD", "training_args.bin", "optimizer.pt"]


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "out"
    for name in (*OLD_WEIGHTS, *OTHERS, *TOKENIZER, *USERS, "config.json", "tokenizer.json"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(f"old {name}")
    return place


def saved(folder, *names):
    def write(target):
        for name in names:
            (target / name).write_text(f"new {name}")

    replace_folder(folder, write)
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_model_without_tokenizer_keeps_the_tokenizer_and_what_is_the_users(folder):
    found = saved(folder, "config.json", "model.safetensors")
    assert {name for name, text in found.items() if text.startswith("new")} == {"config.json", "model.safetensors"}
    kept = {*TOKENIZER, *USERS, "tokenizer.json"}
    assert {name for name, text in found.items() if text == f"old {name}"} == kept
    assert set(found) == kept | {"config.json", "model.safetensors"} | {f"previous/{name}" for name in OTHERS}


def test_the_files_of_another_tokenizer_are_set_aside_where_one_was_written(folder):
    found = saved(folder, "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    assert found["tokenizer.json"] == "new tokenizer.json"
    assert {name for name in found if "/" not in name or name.startswith("previous/add")} == {
        *("model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        *("notes.txt", "training_args.bin", "optimizer.pt", "previous/additional_chat_templates/tool_use.jinja"),
        "previous/added_tokens.json",
    }
    assert {f"previous/{name}" for name in (*OTHERS, *TOKENIZER)} <= set(found)


def test_nothing_of_a_whole_model_stays_beside_adapters(folder):
    found = saved(folder, "adapter_config.json", "adapter_model.safetensors")
    assert found["adapter_config.json"] == "new adapter_config.json"
    assert not {"config.json", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"} & set(found)


def test_a_readme_of_the_user_is_set_aside_and_one_of_ours_is_not(folder):
    (folder / "README.md").write_text("# What I think of it")
    assert saved(folder, "README.md")["previous/README.md"] == "# What I think of it"
    (folder / "README.md").write_text("made with easydel-dpo")
    assert "previous.1/README.md" not in saved(folder, "README.md")


def test_each_save_sets_aside_into_a_folder_of_its_own(folder):
    saved(folder, "model.safetensors")
    (folder / "pytorch_model.bin").write_text("newer")
    found = saved(folder, "model.safetensors")
    assert (found["previous/pytorch_model.bin"], found["previous.1/pytorch_model.bin"]) == (
        "old pytorch_model.bin",
        "newer",
    )
    assert saved(folder, "model.safetensors") == found  # nothing more to set aside


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_error_while_saving_leaves_the_previous_folder_whole(tmp_path):
    def good(folder):
        (folder / "model.safetensors").write_text("good")

    def bad(folder):
        (folder / "model.safetensors").write_text("half")
        raise OSError("disk full")

    replace_folder(tmp_path / "out", good)
    with pytest.raises(OSError, match="disk full"):
        replace_folder(tmp_path / "out", bad)
    assert (tmp_path / "out" / "model.safetensors").read_text() == "good"
    assert entries(tmp_path) == ["out"]
