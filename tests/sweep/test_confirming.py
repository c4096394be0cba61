"""What a confirmation runs, with what of the study that it confirms; and what it says in the end."""

from typing import Any

import pytest

from sweep.asked import Prepared
from sweep.confirm import CONFIRMS
from sweep.confirm_words import chosen_run, lines
from sweep.confirming import prepare
from sweep.design import SEED
from sweep.errors import SweepError
from sweep.options import SweepOptions
from sweep.results import Results
from sweep.study import SOURCE, Identity, create_study
from sweep.sweep_storage import SweepStorage
from tests.sweep.fakes import BUDGET, curve, make_plan, make_ready, make_space

ASKED = SweepOptions(space="", seeds=2, storage="there.db")
STORED = {"space": "mine.yaml", "model": "some/model", "dataset": "chats.jsonl", "dtype": "fp32"}


class Searched:
    """A study of four complete trials; trial 1 leads, then 3 and 2."""

    def __init__(self, storage: SweepStorage) -> None:
        self.storage, self.space = storage, make_space()
        self.study = create_study(storage, "demo", Identity.of(self.space, BUDGET, 7, make_ready()), self.space)
        self.study.set_user_attr(SOURCE, STORED)
        self.results = Results(storage.engine, "demo")
        self.settings: list[dict[str, Any]] = []
        for loss in (3.0, 2.6, 2.8, 2.7):
            self.end_trial(loss)

    def end_trial(self, loss: float) -> None:
        """One more trial, with settings of its own."""
        number = len(self.settings)
        drawn = {"learning_rate": 1e-3 + number * 1e-4, "lora_rank": (8, 32, 16)[number % 3], "alpha_ratio": 1}
        params = self.space.walk(lambda knob: drawn[knob.name])
        self.settings.append(drawn)
        self.results.start_trial(number, make_plan(self.space).config(params), params, f"demo/{number}", 10)
        for report in curve(4.0, loss, total=2):
            self.results.add_report(number, report)
        self.results.end_trial(number, "complete", value=loss)


@pytest.fixture
def searched(storage: SweepStorage) -> Searched:
    return Searched(storage)


def prepared(sweep: Searched, top: int = 2, **asked: Any) -> tuple[SweepOptions, Prepared]:
    options = SweepOptions(**{**vars(ASKED), **asked})
    return prepare(sweep.storage, sweep.study, options, top)


def begin(sweep: Searched, made: Prepared, name: str = "demo-confirm") -> None:
    """Makes the confirmation's study as a sweep does, without a trial."""
    space = made.design.space
    study = create_study(
        sweep.storage, name, Identity.of(space, BUDGET, 7, make_ready(), design=made.design.kind), space
    )
    for key, value in made.attributes.items():
        study.set_user_attr(key, value)


def test_the_leaders_run_at_seeds_that_the_search_did_not_use(searched: Searched) -> None:
    options, made = prepared(searched)
    led = [searched.settings[number] for number in (1, 3)]
    assert [dict(cell) for cell in made.design.cells] == [params | {SEED: seed} for seed in (8, 9) for params in led]
    assert made.attributes[CONFIRMS] == {"study": "demo", "trials": [1, 3], "settings": led, "seeds": [8, 9]}
    assert made.identity["budget"] == BUDGET.to_dict()
    assert options.n_trials is None


def test_model_data_and_split_are_the_studys_and_nothing_is_pruned(searched: Searched) -> None:
    options, _ = prepared(searched)
    assert (options.space, options.model, options.dataset, options.dtype) == tuple(STORED.values())
    assert (options.seed, options.pruner, options.early_stopping_patience) == (7, "none", 0)
    assert (options.study, options.storage, options.keep_adapters) == ("demo-confirm", "there.db", 4)


def test_a_confirmation_goes_on_with_the_leaders_that_it_began_with(searched: Searched) -> None:
    _, made = prepared(searched)
    begin(searched, made)
    searched.end_trial(2.1)
    _, again = prepared(searched)
    assert again.attributes == made.attributes
    assert again.design.cells == made.design.cells
    assert prepared(searched, study="anew")[1].attributes[CONFIRMS]["trials"] == [4, 1]


@pytest.mark.parametrize(("top", "seeds"), [(2, 3), (2, 1)])
def test_a_confirmation_of_other_size_is_refused(searched: Searched, top: int, seeds: int) -> None:
    begin(searched, prepared(searched)[1])
    with pytest.raises(SweepError, match=f"begun with 2 leaders and 2 seeds, and now {top} and {seeds} are asked for"):
        prepared(searched, top=top, seeds=seeds)


def test_a_name_that_is_taken_is_refused(searched: Searched) -> None:
    with pytest.raises(SweepError, match="study 'demo' is no confirmation; give this one its own name with --study"):
        prepared(searched, study="demo")
    begin(searched, prepared(searched)[1])
    other = create_study(searched.storage, "other", Identity.of(searched.space, BUDGET, 7), searched.space)
    for key, value in searched.study.user_attrs.items():
        other.set_user_attr(key, value)
    with pytest.raises(SweepError, match="study 'demo-confirm' confirms 'demo'"):
        prepare(searched.storage, other, SweepOptions(**{**vars(ASKED), "study": "demo-confirm"}), 2)


def ended(sweep: Searched, losses: dict[tuple[int, int], float]) -> tuple[Results, list[dict[str, Any]], Any]:
    """A confirmation whose runs of (leader, seed) ended with these losses."""
    _, made = prepared(sweep)
    confirms = made.attributes[CONFIRMS]
    rows = []
    for number, ((leader, seed), loss) in enumerate(losses.items()):
        setting = confirms["settings"][confirms["trials"].index(leader)]
        rank = setting["lora_rank"]
        row = {"trial_number": number, "state": "complete", "value": loss, "trainable_parameters": 100 * rank}
        told = {"lora_rank": rank, "lora_alpha": rank, "lora_target": "qv", "effective_batch_size": 8}
        params = {**setting, SEED: seed, "lora_alpha": rank}
        rows.append({**row, **told, "learning_rate": setting["learning_rate"], "params": params, "config": {}})
    # Curves are read by trial number: those of the study that was searched will do.
    return sweep.results, rows, confirms


def test_a_winner_is_named_with_its_setting_and_its_best_run_is_exported(searched: Searched) -> None:
    of = ended(searched, {(1, 8): 2.60, (3, 8): 2.80, (1, 9): 2.61, (3, 9): 2.81})
    told = lines(*of)
    assert told[0] == "Leaders of demo at seeds 8, 9, which its search did not use:"
    assert told[2].split()[:3] == ["1", "2.6050", "-"]
    assert "+0.2000" in told[3]
    assert told[3].endswith("worse")
    rank = searched.settings[1]["lora_rank"]
    assert told[5].startswith(f"Winner: trial 1 of demo (rank {rank}, alpha {rank} (1:1), q and v, learning rate ")
    assert told[5].endswith("mean loss 2.6050.")
    found = chosen_run(*of)
    assert found is not None
    assert found["trial_number"] == 0


def test_without_a_winner_the_cheapest_is_told(searched: Searched) -> None:
    told = lines(*ended(searched, {(1, 8): 2.60, (3, 8): 2.80, (1, 9): 2.81, (3, 9): 2.62}))
    cheapest = min((1, 3), key=lambda number: searched.settings[number]["lora_rank"])
    assert told[5].startswith(
        f"No winner: 2 of 2 cannot be told apart. The cheapest of them is trial {cheapest} of demo"
    )


def test_before_two_seeds_are_in_common_nothing_is_judged(searched: Searched) -> None:
    of = ended(searched, {(1, 8): 2.60, (3, 8): 2.80, (1, 9): 2.81})
    assert lines(*of) == ["The leaders of demo cannot be judged yet: two of them need two seeds in common."]
    assert chosen_run(*of) is None
