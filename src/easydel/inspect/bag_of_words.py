"""What a classifier that knows words but not their order makes of the pairs, by scikit-learn, an extra.

A logistic regression on which words are in the one completion and not in the other, cross-validated with all pairs of a
prompt on one side. Its accuracy is what a reward can have without understanding anything.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from easydel.inspect.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from easydel.inspect.facts import Facts

_FEWEST, _FOLDS, _WORDS = 50, 5, 5_000
_SUSPECT, _ERRORS = 0.65, 3.0
_SHOWN = 8


class Sampled(NamedTuple):
    """A pair whose completions are kept; `prompt` is what pairs of the same prompt have in common."""

    number: int
    prompt: int
    chosen: str
    rejected: str


class BagOfWords(NamedTuple):
    """How well words alone tell chosen from rejected."""

    pairs: int
    accuracy: float
    error: float  # standard error of the accuracy
    chosen_words: list[str]  # that speak for a completion, the clearest first
    rejected_words: list[str]


def bag_of_words(sample: "Sequence[Sampled]") -> BagOfWords | None:
    """Returns the cross-validated accuracy on a sample of pairs; None where they are too few.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    from sklearn.feature_extraction.text import CountVectorizer  # pyright: ignore[reportMissingImports]  # an extra
    from sklearn.linear_model import LogisticRegression  # pyright: ignore[reportMissingImports]
    from sklearn.model_selection import GroupKFold, cross_val_score  # pyright: ignore[reportMissingImports]

    prompts = np.array([pair.prompt for pair in sample], np.uint64)
    if len(sample) < _FEWEST or len(np.unique(prompts)) < 2 * _FOLDS:
        return None
    count = CountVectorizer(binary=True, max_features=_WORDS, min_df=3, token_pattern=r"(?u)\b\w+\b")
    try:
        count.fit([text for pair in sample for text in pair[2:]])
    except ValueError:  # no word is in three of them
        return None
    chosen, rejected = (count.transform([pair[side] for pair in sample]) for side in (2, 3))
    # Half of the pairs the other way round: a classifier without a constant, which would always say chosen.
    signs = np.where(np.arange(len(sample)) % 2, 1, -1)
    differences = (chosen - rejected).multiply(signs[:, None]).tocsr().astype(np.float64)
    model = LogisticRegression(C=0.1, fit_intercept=False, solver="liblinear")
    scores = cross_val_score(model, differences, signs, groups=prompts, cv=GroupKFold(_FOLDS))
    accuracy = float(np.mean(scores))
    names, weights = count.get_feature_names_out(), model.fit(differences, signs).coef_[0]
    order = np.argsort(weights)
    return BagOfWords(
        len(sample),
        round(accuracy, 4),
        round(max(accuracy * (1 - accuracy), 0.0) ** 0.5 / len(sample) ** 0.5, 4),
        [str(names[at]) for at in order[::-1][:_SHOWN] if weights[at] > 0],
        [str(names[at]) for at in order[:_SHOWN] if weights[at] < 0],
    )


def words_tell(facts: "Facts") -> "Iterator[Finding]":
    """Yields a finding where words alone tell chosen from rejected: in the whole, and in a source where not there."""
    told = False
    for source, found in facts.words.items():
        clear = found.accuracy >= max(_SUSPECT, 0.5 + _ERRORS * found.error)
        if clear and not told:
            yield _finding(facts, source, found)
        told = told or (clear and not source)


def _finding(facts: "Facts", source: str, found: BagOfWords) -> Finding:
    where = f" from {source}" if source else ""
    against = f"; against it {', '.join(found.rejected_words)}" if found.rejected_words else ""
    return Finding(
        "bag_of_words",
        "warning",
        f"words alone tell the chosen completion in {found.accuracy:.0%} of {found.pairs:,} pairs{where} (cross-"
        f"validated, standard error {found.error:.1%}): for it speak {', '.join(found.chosen_words)}{against}",
        found._asdict() | {"source": source},
        examples=[pair.number for pair in facts.samples[source][:5]],
    )
