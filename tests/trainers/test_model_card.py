"""The model card: what made a model, and nothing of the machine."""

from huggingface_hub import ModelCard

from easydel.trainers.model_card import ModelCardFacts, write_card
from easydel.trainers.report.run import read_run
from oracles.pages import write_run


def test_a_card_tells_settings_of_the_model_and_none_of_accounts_and_machines(tmp_path):
    settings = {"beta": 0.3, "load_best_at_end": True, "use_wandb": True, "wandb_entity": "us"}
    settings |= {"save_interval_minutes": 5, "dataset_num_proc": 2, "save_directory": "/home/me"}
    write_card(tmp_path, ModelCardFacts("mine", "me/base", settings, (), False), None)
    assert "```yaml\nbeta: 0.3\nload_best_at_end: true\n```" in (tmp_path / "README.md").read_text()


def card_of(folder, facts: ModelCardFacts) -> ModelCard:
    write_card(folder, facts, None)
    return ModelCard.load(folder / "README.md")


def test_a_base_and_data_on_the_hub_are_linked_and_in_the_metadata(tmp_path):
    card = card_of(tmp_path, ModelCardFacts("mine", "me/base", {"loss_type": "ipo"}, ("you/pairs",), False, "me/mine"))
    assert (card.data.base_model, card.data.datasets) == ("me/base", ["you/pairs"])
    assert "[me/base](https://huggingface.co/me/base)" in card.content
    assert "(loss `ipo`, beta 0.1) on [you/pairs](https://huggingface.co/datasets/you/pairs)." in card.content


def test_a_base_in_a_folder_is_named_without_its_path_and_its_license_is_taken_over(tmp_path):
    base = tmp_path / "somewhere" / "base"
    base.mkdir(parents=True)
    (base / "README.md").write_text("---\nlicense: mit\n---\n")
    (tmp_path / "out").mkdir()
    card = card_of(tmp_path / "out", ModelCardFacts("mine", str(base), {}, (), False))
    assert (card.data.license, card.data.base_model) == ("mit", None)
    assert "`base`" in card.content
    assert "somewhere" not in card.content


def test_adapters_are_loaded_with_peft(tmp_path):
    card = card_of(tmp_path, ModelCardFacts("mine", "me/base", {}, (), True, "me/mine"))
    assert card.data.library_name == "peft"
    assert 'AutoPeftModelForCausalLM.from_pretrained("me/mine")' in card.content


def test_a_run_that_logged_has_its_curves_and_results_in_the_card(tmp_path):
    run = read_run(write_run(tmp_path / "run"))
    write_card(tmp_path, ModelCardFacts("mine", "me/base", {}, (), False), run)
    text = (tmp_path / "README.md").read_text()
    assert "On eval pairs:" in text
    assert "| loss | 0.69 | 0.31 |" in text
    assert "![Loss" in text
    assert (tmp_path / "curves.svg").read_text().startswith("<svg")
