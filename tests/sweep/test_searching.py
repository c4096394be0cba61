"""A sweep's slots: which trial each takes, what is parked, and how all of it ends."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweep import searching
from sweep.claims import claim, take_up
from sweep.contenders import PARKED, is_parked
from sweep.errors import SweepError, TrialFailed, TrialInterrupted
from sweep.pruners import TrendPromotion
from sweep.recovery import OWNER, put_back_own, this_process
from sweep.searching import Search, parked_count, unpark
from sweep.stopping import MOST_FAILURES_IN_A_ROW, FailureWatch
from sweep.sweep_storage import backend
from sweep.trial_files import delete_losing_adapters
from tests.sweep.fakes import Event, FakeSweep, curve, moved
from trials.folders import ADAPTER, CHECKPOINT

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage")

START = 3.0
FIRST = curve(2.6, 2.4, 2.3, 2.25, 2.2)  # leads as long as it is alone
WAITS = curve(2.65, 2.41, 2.2, 2.1, 2.0)  # heads for more than the first reached, and comes to less
BEHIND = curve(2.65, 2.44, 2.35, 2.3, 2.25)
LOSES = curve(2.665, 2.45, 2.35, 2.3, 2.25)  # may beat FIRST by its first report, and not LEADS, nor clearly not
LEADS = curve(2.5, 2.3, 2.2, 2.1, 2.05)
COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


def promoting(tmp_path: Path, *plays: Sequence[Event], slots: int = 1) -> FakeSweep:
    sweep = FakeSweep(tmp_path, *plays, pruner="promote", start_loss=START)
    sweep.launcher.slots = slots
    return sweep


def states(sweep: FakeSweep) -> list[TrialState]:
    return [trial.state for trial in sweep.study.trials]


def reports(sweep: FakeSweep) -> list[int]:
    return [len(sweep.results.curve(row["trial_number"]).reports) for row in sweep.results.trials()]


def runs(sweep: FakeSweep) -> list[int]:
    """The trials that ran, in the order in which they were started and taken up."""
    return [int(folder.name) for _, folder in sweep.launcher.started]


def parked_sweep(tmp_path: Path) -> FakeSweep:
    """A sweep that was stopped with its first trial complete, its second parked, and its third saved."""
    sweep = promoting(tmp_path, FIRST, WAITS)
    sweep.launcher.plays.append([*LEADS[:2], sweep.session.stop, *LEADS[2:]])
    with pytest.raises(TrialInterrupted):
        sweep.run(3)
    assert put_back_own(sweep.study) == [2]
    sweep.session.stopping.clear()
    sweep.launcher.saving = False
    return sweep


# --- promotion


def test_what_does_not_lead_is_parked_and_taken_up_once_all_have_begun(tmp_path: Path) -> None:
    sweep = promoting(tmp_path, FIRST, WAITS, BEHIND, WAITS)
    sweep.run(3)
    assert runs(sweep) == [0, 1, 2, 1]
    assert states(sweep) == [COMPLETE, COMPLETE, PRUNED]
    assert reports(sweep) == [5, 5, 3]
    assert sweep.trial(1).value == 2.0
    assert sweep.trial(1).intermediate_values == {one.evaluation: one.eval_loss for one in WAITS}
    assert sweep.row(2)["reason"] == "at 3 of 5: projected 2.304 ± 0.030, and trial 0 reached 2.200"
    assert sweep.trial(2).user_attrs["reason"] == sweep.row(2)["reason"]


def test_what_could_not_win_any_more_is_given_up_when_all_is_over(tmp_path: Path) -> None:
    sweep = promoting(tmp_path, FIRST, LOSES, LEADS)
    sweep.run(3)
    assert runs(sweep) == [0, 1, 2]
    assert states(sweep) == [COMPLETE, PRUNED, COMPLETE]
    told = "at 1 of 5: projected 2.381 ± 0.228, not taken up again: the best reached 2.050"
    assert (sweep.row(1)["state"], sweep.row(1)["reason"], sweep.row(1)["value"]) == ("pruned", told, 2.665)
    assert told in sweep.note(1)


def test_a_parked_trial_waits_with_its_state_on_disk_and_its_settings(tmp_path: Path) -> None:
    seen = list[tuple[FrozenTrial, str, bool, bool]]()
    sweep = promoting(tmp_path, FIRST, WAITS)

    def look() -> None:
        delete_losing_adapters(sweep.results.trials(), sweep.output, keep=3)
        folder = sweep.folder(1)
        kept = (folder / CHECKPOINT).is_dir(), (folder / ADAPTER).is_dir()
        seen.append((sweep.trial(1), sweep.row(1)["reason"], *kept))

    sweep.launcher.plays += [[*LEADS, look], WAITS]
    sweep.run(3)
    ((trial, reason, *kept),) = seen
    assert (trial.state, is_parked(trial), kept) == (TrialState.WAITING, True, [True, True])
    assert reason == "at 1 of 5: heads for 2.353, the leader for 2.200"
    assert not (sweep.folder(1) / CHECKPOINT).exists(), "once it has ended"
    assert "trial 1  parked    1 of 5" in sweep.said.getvalue()


def test_a_parked_trial_goes_on_from_where_it_was(tmp_path: Path) -> None:
    sweep = promoting(tmp_path, FIRST, WAITS, BEHIND, WAITS)
    sweep.run(3)
    first, _, _, again = sweep.launcher.started[1], *sweep.launcher.started[1:]
    assert again == first
    assert "trial 1  resumed" in sweep.said.getvalue()
    assert sweep.said.getvalue().count("trial 1  1 of 5") == 1


@pytest.mark.parametrize("slots", [2, 3])
def test_several_slots_run_each_trial_to_one_end(tmp_path: Path, slots: int) -> None:
    ends = dict[int, int]()
    sweep = promoting(tmp_path, *[FIRST] * 40, slots=slots)
    lock = threading.Lock()

    def ended(study: optuna.Study, trial: FrozenTrial) -> None:
        with lock:
            ends[trial.number] = ends.get(trial.number, 0) + 1

    Search(sweep.session, sweep.study, [ended]).run(8)
    assert ends == dict.fromkeys(range(8), 1)
    assert set(states(sweep)) <= {COMPLETE, PRUNED}
    assert COMPLETE in states(sweep)
    assert sorted(set(runs(sweep))) == list(range(8))
    assert [len(trial.intermediate_values) for trial in sweep.study.trials] == reports(sweep)


def test_trials_are_begun_before_any_is_taken_up(tmp_path: Path) -> None:
    sweep = promoting(tmp_path, FIRST, *[BEHIND] * 20)
    sweep.run(4)
    assert runs(sweep)[:4] == [0, 1, 2, 3]


# --- stopped and gone on with


def test_a_stop_leaves_what_is_parked_and_the_next_session_goes_on_with_it(tmp_path: Path) -> None:
    sweep = parked_sweep(tmp_path)
    assert [(trial.state, is_parked(trial)) for trial in sweep.study.trials] == [
        (COMPLETE, False),
        (TrialState.WAITING, True),
        (TrialState.WAITING, False),
    ]
    assert parked_count(sweep.study) == 1
    sweep.launcher.plays += [LEADS, WAITS]
    sweep.run(3 - 1 - parked_count(sweep.study))
    assert (sweep.trial(2).state, sweep.trial(2).value) == (COMPLETE, 2.05)
    assert sweep.trial(1).state in (COMPLETE, PRUNED)
    assert len(sweep.study.trials) == 3


def test_nothing_is_begun_once_the_sweep_stops(tmp_path: Path) -> None:
    sweep = promoting(tmp_path, FIRST)
    sweep.session.stop()
    sweep.run(1)
    assert (sweep.launcher.started, sweep.study.trials) == ([], [])


def test_with_another_pruner_what_was_parked_is_handed_out_as_it_is(tmp_path: Path) -> None:
    sweep = parked_sweep(tmp_path)
    assert sweep.study.ask().number == 2, "what is parked is not handed out"
    sweep.study.pruner = optuna.pruners.NopPruner()
    unpark(sweep.study)
    assert parked_count(sweep.study) == 0
    sweep.launcher.plays.append(WAITS)
    sweep.run(1)
    assert (runs(sweep)[-1], sweep.trial(1).state, sweep.trial(1).value) == (1, COMPLETE, 2.0)


# --- failures


def test_a_failed_trial_does_not_end_the_search(tmp_path: Path) -> None:
    sweep = promoting(tmp_path, *[[TrialFailed("broken")]] * 3, FIRST)
    sweep.run(2)
    assert states(sweep) == [FAIL, COMPLETE]


def test_nothing_more_is_begun_when_one_after_the_other_fails(tmp_path: Path) -> None:
    sweep = promoting(tmp_path, *[[TrialFailed("broken")]] * 9)
    watch = FailureWatch()
    Search(sweep.session, sweep.study, [watch], watch.hopeless).run(9)
    assert states(sweep) == [FAIL] * MOST_FAILURES_IN_A_ROW
    with pytest.raises(SweepError, match=r"(?s)trials 0, 1, 2 failed one after the other.*trial 2  unknown: broken"):
        watch.raise_if_hopeless()


def test_an_error_that_is_not_a_trials_own_ends_the_search_and_is_raised(tmp_path: Path) -> None:
    sweep = promoting(tmp_path, FIRST, FIRST, FIRST)

    def fails(study: optuna.Study, trial: FrozenTrial) -> None:
        raise ZeroDivisionError("a fault of ours")

    with pytest.raises(ZeroDivisionError, match="a fault of ours"):
        Search(sweep.session, sweep.study, [fails]).run(3)
    assert len(sweep.study.trials) == 1


def test_an_error_in_looking_for_a_trial_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = promoting(tmp_path, FIRST, slots=2)
    monkeypatch.setattr(sweep.storage, "_get_prepared_new_trial", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sweep.run(1)


# --- other machines


def of_another_machine(sweep: FakeSweep, loss: float) -> optuna.Trial:
    """A trial that runs there and has reported."""
    trial = claim(sweep.study, 100)
    assert trial is not None
    trial.set_user_attr(OWNER, this_process() | {"host": "another"})
    trial.report(loss, 1)
    return trial


def test_what_waits_for_another_machines_trial_is_decided_once_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the sweep would ask again and again, as fast as it can."""
    monkeypatch.setattr(searching, "LOOK_SECONDS", 0.01)
    sweep = parked_sweep(tmp_path)
    sweep.storage.set_trial_state_values(sweep.trial(2)._trial_id, FAIL)
    other, looks = of_another_machine(sweep, 2.0), list[int]()

    class Waiting(TrendPromotion):
        def given_up(self, study: optuna.Study, *, over: bool) -> dict[int, str]:
            looks.append(1)
            if len(looks) == 20:
                study.tell(other, 2.0)
            return super().given_up(study, over=over)

    sweep.study.pruner = Waiting(5)
    sweep.run(0)
    assert states(sweep) == [COMPLETE, PRUNED, FAIL, COMPLETE]
    assert sweep.row(1)["reason"].endswith("not taken up again: the best reached 2.000")


def test_nor_is_another_machine_waited_for_that_was_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "LOOK_SECONDS", 0.01)
    sweep = parked_sweep(tmp_path)
    sweep.storage.set_trial_state_values(sweep.trial(2)._trial_id, FAIL)
    sweep.launcher.plays.append(WAITS)
    lost = of_another_machine(sweep, 2.0)
    monkeypatch.setattr(sweep.storage, "_get_stale_trial_ids", lambda _: [lost._trial_id])
    sweep.run(0)
    assert states(sweep) == [COMPLETE, COMPLETE, FAIL, FAIL, TrialState.WAITING], "it waited behind the lost one"


def test_a_trial_that_another_machine_took_up_is_left_to_it(tmp_path: Path) -> None:
    sweep = parked_sweep(tmp_path)
    first = take_up(sweep.study, 1)
    assert first is not None
    assert take_up(sweep.study, 1) is None
    sweep.study.tell(first, 2.0)
    assert take_up(sweep.study, 1) is None
    assert sweep.trial(1).user_attrs[PARKED] is False


def lose(sweep: FakeSweep, number: int) -> None:
    """Another machine finds a trial's owner silent: it is failed, and a copy of it waits."""
    lost = sweep.trial(number)
    backend(sweep.study).set_trial_state_values(lost._trial_id, FAIL)
    attributes = {"failed_trial": number, "retry_history": [number], **lost.system_attrs}
    sweep.study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            params=lost.params,
            distributions=lost.distributions,
            user_attrs=lost.user_attrs,
            system_attrs=attributes,
        )
    )


def test_a_trial_that_was_lost_is_stopped_at_its_next_report_and_another_is_taken(tmp_path: Path) -> None:
    sweep = promoting(tmp_path)
    sweep.launcher.plays += [[*FIRST[:2], lambda: lose(sweep, 0), *FIRST[2:]], FIRST]
    sweep.session.total = 1
    sweep.run(9)
    assert states(sweep) == [FAIL, COMPLETE]
    assert sweep.launcher.runs[0].closed
    assert [row["state"] for row in sweep.results.trials()] == ["failed", "complete"]
    assert sweep.row(0)["reason"] == "its machine was lost; trial 1 goes on"
    assert len(sweep.results.curve(1).reports) == 5
    assert "trial 0  lost" in sweep.said.getvalue()


def test_a_lost_trial_is_stopped_at_its_next_step(tmp_path: Path) -> None:
    sweep = promoting(tmp_path)
    after: list[Event] = [moved(5), *FIRST[2:]]
    sweep.launcher.plays += [[*FIRST[:2], lambda: lose(sweep, 0), lambda: sweep.session.lost.add(0), *after], FIRST]
    sweep.session.total = 1
    sweep.run(9)
    assert states(sweep) == [FAIL, COMPLETE]
    assert len(sweep.results.curve(0).reports) == 2


def test_what_was_lost_while_it_was_being_ended_does_not_count_here(tmp_path: Path) -> None:
    """Its end was written to our table before Optuna refused it."""
    sweep = promoting(tmp_path, FIRST, FIRST)
    sweep.session.total = 1
    end, ended = sweep.results.end_trial, list[int]()

    def end_late(number: int, state: str, **told: Any) -> None:
        end(number, state, **told)
        if state == "complete" and not ended:
            ended.append(number)
            lose(sweep, number)

    sweep.results.end_trial = end_late  # type: ignore[method-assign]
    sweep.run(9)
    assert states(sweep) == [FAIL, COMPLETE]
    assert [row["state"] for row in sweep.results.trials()] == ["failed", "complete"]
