"""What is advised for each state: the guide's changes at the settings at hand. And what a diagnosis is for programs."""

import dataclasses
import math

from tests.trials.logs import curve
from trials.config import TrialConfig
from trials.diagnosis import DIAGNOSES, diagnose
from trials.logged import LoggedCurve, Settings
from trials.report import Report


def learning(t: float) -> float:
    """A healthy loss: falls fast, then flattens."""
    return 1.0 + 1.2 * math.exp(-9 * t)


def remedies(found: LoggedCurve, settings: Settings) -> dict[str, object]:
    return {c.setting: (c.before, c.after) for c in diagnose(found, settings).findings[0].remedy if c.setting}


SETTINGS = Settings(
    learning_rate=1e-4,
    gradient_accumulation_steps=8,
    warmup_ratio=0.1,
    num_train_epochs=5.0,
    lora_rank=8,
    lora_alpha=16.0,
    val_size=0.1,
    lr_scheduler_type="constant",
)
SWINGING = curve(lambda t: learning(t) * (1 + 0.3 * math.sin(80 * t)), points=200)
RISING = curve(lambda t: 2 - t, evaluation=lambda t: 1.4 + 0.4 * t)


def test_the_guides_remedies_at_the_guides_settings() -> None:
    assert remedies(SWINGING, SETTINGS) == {
        "learning_rate": (1e-4, 5e-5),
        "gradient_accumulation_steps": (8, 16),
        "warmup_ratio": (0.1, 0.2),
    }
    assert remedies(RISING, SETTINGS) == {"lora_alpha": (16.0, 8), "num_train_epochs": (5.0, 2), "val_size": (0.1, 0.2)}
    slow = dataclasses.replace(SETTINGS, learning_rate=5e-5, num_train_epochs=1.0, lora_rank=4, lora_alpha=8.0)
    assert remedies(curve(lambda t: 2.4 - 0.5 * t), slow) == {
        "learning_rate": (5e-5, 2e-4),
        "num_train_epochs": (1.0, 3),
        "lora_rank": (4, 8),
        "lora_alpha": (8.0, 16),
    }
    assert remedies(curve(lambda _: 1.4), SETTINGS) == {
        "learning_rate": (1e-4, 5e-4),
        "lr_scheduler_type": ("constant", "cosine"),
    }


def test_a_run_that_is_lost_or_far_off_gets_a_fifth_of_the_rate() -> None:
    lost = curve(lambda t: math.nan if t > 0.7 else learning(t))
    assert remedies(lost, SETTINGS)["learning_rate"] == (1e-4, 2e-5)
    assert remedies(SWINGING, dataclasses.replace(SETTINGS, learning_rate=5e-3))["learning_rate"] == (5e-3, 1e-3)


def test_what_is_at_its_end_already_is_not_advised() -> None:
    done = dataclasses.replace(SETTINGS, warmup_ratio=0.2, num_train_epochs=1.0, val_size=0.2, lora_rank=64)
    assert "warmup_ratio" not in remedies(SWINGING, done)
    assert set(remedies(RISING, done)) == {"lora_alpha"}
    assert "lora_rank" not in remedies(curve(lambda t: 2.4 - 0.5 * t), done)


def test_unknown_settings_get_relative_words_and_the_logs_own_rate() -> None:
    found = diagnose(SWINGING).findings[0].remedy
    assert (found[0].setting, found[0].before, found[0].after) == ("learning_rate", 1e-4, 5e-5)
    assert (found[1].setting, found[1].words, found[1].after) == ("gradient_accumulation_steps", "double", None)


def report(i: int, eval_loss: float) -> Report:
    return Report(i, 10, 8 * i, 80, 1000 * i, 0.2 * i, 2.0 - 0.1 * i, eval_loss, 1e-4, 1.0, 1.0, 0)


def test_our_own_reports_are_diagnosed_as_they_are() -> None:
    rising = LoggedCurve.of([report(i, 1.5 + abs(i - 4) * 0.05) for i in range(1, 11)])
    found = diagnose(rising, Settings.of(TrialConfig(lora_alpha=32)))
    assert found.kinds == ("over-fitting",)
    assert found.findings[0].start == 32
    assert (found.findings[0].remedy[0].before, found.findings[0].remedy[0].after) == (32, 16)
    assert diagnose(LoggedCurve.of([])).kinds == ("too short to tell",)


def test_a_diagnosis_is_plain_data() -> None:
    plain = diagnose(RISING, SETTINGS).to_dict()
    assert plain["findings"][0]["kind"] == "over-fitting"
    assert plain["findings"][0]["guide"] == "1.2, 2.3"
    assert plain["findings"][0]["remedy"][0] == {
        "setting": "lora_alpha",
        "before": 16.0,
        "after": 8,
        "words": "half",
    }
    assert set(DIAGNOSES) == {"divergence", "oscillation", "over-fitting", "stagnation", "under-fitting"}
