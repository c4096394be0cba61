"""The lines that a sweep begins with: what will be searched, on what, and what differs from the guide."""

from collections.abc import Sequence

from sweep.batch_split import batch_line
from sweep.budget import describe_memory
from sweep.design import Design, describe
from sweep.devices import Slot
from sweep.from_study import Start
from sweep.options import SweepOptions
from sweep.plan import Plan
from sweep.quantization import precision
from sweep.scaling import parameters
from sweep.storage import shown
from trials.default_model import NAME as DEFAULT_MODEL

# Columns that a line's label takes, and the space behind it.
INDENT = 7


def loading(options: SweepOptions, slots: Sequence[Slot], start: Start | None = None) -> str:
    """What is said before anything is loaded."""
    model = start.origin.name if start else options.model or DEFAULT_MODEL
    merging = ", to be merged once" if start and start.merge else ""
    return labelled("load", f"{model} into {workers(slots)}{merging}")


def lines(
    plan: Plan,
    options: SweepOptions,
    study: str,
    slots: Sequence[Slot],
    *,
    done: int,
    waiting: int,
    parked: int = 0,
    notes: Sequence[str],
    start: Start | None = None,
) -> list[str]:
    """Model, data, space, batch, study and notes, one line each.

    Args:
        plan: What every trial has in common.
        options: What was asked for.
        study: The study's name.
        slots: Where trials run.
        done: Finished trials of earlier sessions.
        waiting: Trials that were interrupted.
        parked: Trials that are parked.
        notes: What else the user should know.
        start: Where a second stage starts from.
    """
    told = [
        labelled("model", model_line(plan)),
        *([labelled("from", start.line())] if start else []),
        labelled("data", data_line(plan)),
        labelled("space", space_line(plan)),
        labelled("batch", batch_line(plan.batch_limit, plan.space)),
        labelled("study", study_line(plan, options, study, slots, done, waiting, parked)),
    ]
    later = start.note() if start else None
    return told + [labelled("note", text) for text in (*notes, later) if text]


def design_lines(design: Design) -> list[str]:
    """What a grid runs and what it holds; nothing for a search."""
    return [labelled("design", f"{design.kind}: {describe(design)}")] if design.cells else []


def model_line(plan: Plan) -> str:
    """The model's name, shape and precision."""
    model = plan.ready.model
    shape = f"{model.model_type}, {model.layers} layers, {model.hidden_size} wide, {parameters(model)} parameters"
    held_in = ", ".join(filter(None, (precision(model), model.dtype)))
    return f"{model.name} ({shape})   {held_in} on {describe_memory(plan.ready.device)}"


def data_line(plan: Plan) -> str:
    """Rows, twins and cuts."""
    data = plan.ready.data
    twins, cut = int(str(data["twins_dropped"])), float(str(data["cut_share"]))
    return (
        f"{data['dataset']}, {data['stage']}, {int(str(data['train_rows'])):,} rows for training, "
        f"{int(str(data['eval_rows'])):,} for evaluation, {twins:,} twin{'' if twins == 1 else 's'} dropped, "
        f"cut at {plan.budget.cutoff_len}: {100 * cut:.0f} % of rows"
    )


def space_line(plan: Plan) -> str:
    """Knobs, settings and budget."""
    space, budget = plan.space, plan.budget
    settings, continuous = space.settings()
    guide = f" (guide {space.guide})" if space.guide else ""
    counted = " × ".join([f"{settings:,} settings", *continuous])
    if budget.max_rows is None:
        length = f"num_train_epochs over {plan.train_rows:,} rows"
    else:
        length = f"{budget.max_rows:,} rows"
    knobs = f"{len(space.search)} knobs, {counted}"
    return f"{space.name}{guide}: {knobs}   budget {length} a trial, {budget.evaluations} evaluations"


def study_line(
    plan: Plan, options: SweepOptions, study: str, slots: Sequence[Slot], done: int, waiting: int, parked: int
) -> str:
    """Where the study is and how far."""
    if done or waiting or parked:
        state = f"{done} of {options.n_trials} done"
        if waiting:
            state += f", {waiting} interrupted: going on with {'it' if waiting == 1 else 'them'}"
        state += f", {parked} parked" if parked else ""
    else:
        state = f"new   total {options.n_trials} trials"
    return f"{study} in {shown(options.storage)}   {state}   {workers(slots)}"


def workers(slots: Sequence[Slot]) -> str:
    """How many workers run where, and how many trials they do at once when that is more than one each."""
    places = ", ".join(dict.fromkeys(slot.label for slot in slots))
    trials = sum(slot.trials for slot in slots)
    at_once = f", {trials} trials at once" if trials > len(slots) else ""
    return f"{len(slots)} worker{'' if len(slots) == 1 else 's'} on {places}{at_once}"


def labelled(label: str, text: str) -> str:
    """A line with its label before it."""
    return f"{label:<{INDENT - 1}} {text}"
