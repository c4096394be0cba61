"""Optuna inside transformers: `Trainer.hyperparameter_search`, one process, a model made anew for each trial."""

import sys
import tempfile
from typing import Any

import torch

from tests.benchmarks.peers.plain import padded, row_order
from tests.benchmarks.peers.work import RANKS, SEED, Work, trial_name


class Numbers(torch.utils.data.Dataset[int]):
    """The numbers of rows, in an order; `padded` makes a batch of them."""

    def __init__(self, order: list[int]) -> None:
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> int:
        return self.order[index]


def arguments(work: Work, folder: str) -> Any:
    """The others' settings, in a Trainer's words."""
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=work.batch,
        max_steps=work.steps,
        lr_scheduler_type="cosine",
        warmup_steps=work.warmup_steps,
        weight_decay=0.0,
        eval_strategy="steps",
        eval_steps=-(-work.steps // work.evaluations),
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        seed=SEED,
        remove_unused_columns=False,
    )


def telling(work: Work) -> Any:
    """What says when trials begin and what their evaluations find."""
    from transformers import TrainerCallback

    def name(args: Any, model: Any) -> str:
        return trial_name(model.peft_config["default"].r, args.learning_rate)

    class Say(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **of: Any) -> None:
            if state.global_step == 1:
                work.say_begun(name(args, of["model"]))

        def on_evaluate(self, args: Any, state: Any, control: Any, **of: Any) -> None:
            work.say_evaluated(name(args, of["model"]), state.global_step, of["metrics"]["eval_loss"])

    return Say()


def main() -> None:
    """Does the work that the first argument tells."""
    import optuna
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer

    work = Work.read(sys.argv[1])
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    data = work.data(AutoTokenizer.from_pretrained(work.folder))

    def make(trial: Any) -> Any:
        torch.manual_seed(SEED)
        base = AutoModelForCausalLM.from_pretrained(work.folder, dtype=torch.float32)
        rank = trial.suggest_categorical("rank", RANKS) if trial is not None else RANKS[0]
        return get_peft_model(
            base, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
        )

    def space(trial: optuna.Trial) -> dict[str, Any]:
        trial.suggest_categorical("rank", RANKS)
        return {"learning_rate": trial.suggest_categorical("learning_rate", work.rates)}

    order = row_order(work, data)

    class Ordered(Trainer):  # type: ignore[misc]
        """Trains on the rows in the others' order. Its evaluation weighs batches equally, not their tokens."""

        def get_train_dataloader(self) -> Any:
            loader = torch.utils.data.DataLoader(
                Numbers(order), batch_size=work.batch, collate_fn=lambda numbers: padded(data.train, numbers)
            )
            return self.accelerator.prepare(loader)

        def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
            numbers = Numbers(list(range(len(data.evaluation))))
            return torch.utils.data.DataLoader(
                numbers, batch_size=8, collate_fn=lambda numbers: padded(data.evaluation, numbers)
            )

    with tempfile.TemporaryDirectory() as folder:
        rows = Numbers(order)
        trainer = Ordered(
            model_init=make,
            args=arguments(work, folder),
            train_dataset=rows,
            eval_dataset=rows,
            callbacks=[telling(work)],
        )
        trainer.hyperparameter_search(
            hp_space=space,
            compute_objective=lambda metrics: metrics["eval_loss"],
            n_trials=len(work.configs),
            direction="minimize",
            backend="optuna",
            sampler=optuna.samplers.GridSampler({"rank": RANKS, "learning_rate": work.rates}, seed=0),
            pruner=optuna.pruners.MedianPruner() if work.prunes else optuna.pruners.NopPruner(),
        )


if __name__ == "__main__":
    main()
