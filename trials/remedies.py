"""The guide's remedies (section 2), scaled to the settings at hand; in relative words where these are not known."""

from trials.finding import Change, Finding
from trials.logged import Settings

# The guide's before → after, as factors: 1e-4 → 5e-5 or 2e-5 (2.1), 5e-5 → 2e-4 (2.2), × 5 to 10 (2.4).
GENTLER, MUCH_GENTLER, STRONGER, PROBING = 0.5, 0.2, 4.0, 5.0
# LoRA's usual rates end at 2e-4 (3.1), for models of billions of parameters.
USUAL_RATE = 2e-4
# Above so many times the usual rate a half is not enough, and nothing is raised further.
FAR_ABOVE = 10
LONGEST_WARMUP = 0.2  # 2.1's longer one
LEAST_WARMUP = 0.1  # 2.1's first one
MOST_EPOCHS, FEWEST_EPOCHS = 10.0, 2.0  # 3.4, 2.3
LARGEST_RANK = 64  # 4.5


def remedy(finding: Finding, settings: Settings) -> tuple[Change, ...]:
    """What to change for a finding, the most promising first."""
    return _REMEDIES[finding.kind](finding, settings) if finding.kind in _REMEDIES else ()


def _rate(settings: Settings, factor: float, words: str) -> Change:
    return _times("learning_rate", settings.learning_rate, factor, words)


def _times(setting: str, before: float | None, factor: float, words: str) -> Change:
    if before is None:
        return Change(setting, words)
    after = float(f"{before * factor:.2g}")
    return Change(setting, words, before, after)


def _whole(setting: str, before: float | None, after: float, words: str) -> Change:
    """A change whose value stays a whole number when it was one."""
    if before is None:
        return Change(setting, words)
    return Change(setting, words, before, int(after) if float(after).is_integer() else after)


def _highest(settings: Settings) -> float:
    return FAR_ABOVE * (settings.usual_learning_rate or USUAL_RATE)


def _calmer(finding: Finding, settings: Settings) -> tuple[Change, ...]:
    """2.1: a smaller rate, more accumulation, a longer warm-up."""
    accumulation, warmup = settings.gradient_accumulation_steps, settings.warmup_ratio
    grave = finding.kind == "divergence" or (settings.learning_rate or 0.0) > _highest(settings)
    first = _rate(settings, MUCH_GENTLER, "a fifth") if grave else _rate(settings, GENTLER, "half")
    changes = [first, _whole("gradient_accumulation_steps", accumulation, 2 * (accumulation or 0), "double")]
    if warmup is None or warmup < LONGEST_WARMUP:
        changes.append(_longer_warmup(warmup))
    return tuple(changes)


def _longer_warmup(warmup: float | None) -> Change:
    if warmup is None:
        return Change("warmup_ratio", f"longer, up to {LONGEST_WARMUP:g}")
    return Change("warmup_ratio", "longer", warmup, min(LONGEST_WARMUP, max(LEAST_WARMUP, 2 * warmup)))


def _stronger(finding: Finding, settings: Settings) -> tuple[Change, ...]:
    """2.2: a higher rate, more epochs, more capacity, and a look at the data."""
    rate, epochs, rank, alpha = (
        settings.learning_rate,
        settings.num_train_epochs,
        settings.lora_rank,
        settings.lora_alpha,
    )
    changes = []
    if rate is None or rate * STRONGER <= _highest(settings):
        changes.append(_rate(settings, STRONGER, "four times"))
    if epochs is None or epochs < MOST_EPOCHS:
        more = min(MOST_EPOCHS, 3 * (epochs or 0))
        changes.append(_whole("num_train_epochs", epochs, more, "more, up to three times"))
    if rank is None or rank < LARGEST_RANK:
        changes.append(_whole("lora_rank", rank, 2 * (rank or 0), "double"))
        changes.append(_whole("lora_alpha", alpha, 2 * (alpha or 0), "double"))
    return tuple(changes)


def _weaker(finding: Finding, settings: Settings) -> tuple[Change, ...]:
    """2.3: a weaker adapter, fewer epochs, early stopping, more evaluation rows."""
    alpha, epochs, size = settings.lora_alpha, settings.num_train_epochs, settings.val_size
    changes = [_whole("lora_alpha", alpha, (alpha or 0) / 2, "half")]
    if epochs is None or epochs > FEWEST_EPOCHS:
        changes.append(_whole("num_train_epochs", epochs, FEWEST_EPOCHS, "fewer"))
    if finding.suspected:
        changes.append(Change("val_size", "0.1, so that evaluation shows it", size, 0.1))
    else:
        if size is not None and size < 1:
            changes.append(Change("val_size", "double", size, min(0.2, 2 * size) if size < 0.2 else size))
        changes.append(Change("", f"early stopping on evaluation loss; keep the adapter of step {finding.start}"))
    return tuple(change for change in changes if change.before is None or change.before != change.after)


def _unstuck(finding: Finding, settings: Settings) -> tuple[Change, ...]:
    """2.4: check the data, raise the rate for a while, check the schedule, over-fit a few rows on purpose."""
    return (
        Change("", "check that the chat template is the model's and that the columns are mapped as they should be"),
        _rate(settings, PROBING, "five to ten times, for a short while"),
        Change("lr_scheduler_type", "cosine", settings.lr_scheduler_type, "cosine")
        if settings.lr_scheduler_type not in (None, "cosine", "linear")
        else Change("", "check the learning-rate schedule: cosine or linear"),
        Change("", "train on 100 to 200 rows for 3 to 5 epochs: it must over-fit, else the data is at fault"),
    )


_REMEDIES = {
    "divergence": _calmer,
    "oscillation": _calmer,
    "under-fitting": _stronger,
    "over-fitting": _weaker,
    "stagnation": _unstuck,
}
