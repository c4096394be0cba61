"""Optuna inside transformers: `Trainer.hyperparameter_search`, one process, a model made anew for each trial."""

import sys
import tempfile
from typing import Any

import torch

from tests.benchmarks.peers.plain import padded
from tests.benchmarks.peers.work import RANKS, SEED, Work
from trials.token_rows import TokenRows


class Indices(torch.utils.data.Dataset[int]):
    """The numbers of rows; `padded` makes a batch of them."""

    def __init__(self, rows: TokenRows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> int:
        return index


def main() -> None:
    """Does the work that the first argument tells."""
    import optuna
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

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

    evaluated: list[tuple[float, int]] = []

    def say_end() -> None:
        """Says how the trial ended that was under way: neither Trainer nor its callbacks hear of a pruned one."""
        if evaluated:
            work.say("end", loss=min(loss for loss, _ in evaluated), steps=evaluated[-1][1])
            evaluated.clear()

    class Say(TrainerCallback):  # type: ignore[misc]
        """Says when trials begin and end."""

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 0:
                say_end()
                work.say("begin", rate=args.learning_rate)

    class Padding(Trainer):  # type: ignore[misc]
        """The training and the evaluation rows are of two tables, and each batch knows its own."""

        def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
            rows = data.evaluation
            return torch.utils.data.DataLoader(
                Indices(rows),
                batch_size=8,
                collate_fn=lambda indices: padded(rows, indices),
            )

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=work.batch,
            max_steps=work.steps,
            lr_scheduler_type="cosine",
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
        trainer = Padding(
            model_init=make,
            args=arguments,
            train_dataset=Indices(data.train),
            eval_dataset=Indices(data.evaluation),
            data_collator=lambda indices: padded(data.train, indices),
            callbacks=[Say()],
        )
        pruner = optuna.pruners.MedianPruner() if work.prunes else optuna.pruners.NopPruner()

        def objective(metrics: dict[str, float]) -> float:
            evaluated.append((metrics["eval_loss"], trainer.state.global_step))
            return metrics["eval_loss"]

        trainer.hyperparameter_search(
            hp_space=space,
            compute_objective=objective,
            n_trials=len(work.configs),
            direction="minimize",
            backend="optuna",
            sampler=optuna.samplers.GridSampler({"rank": RANKS, "learning_rate": work.rates}, seed=0),
            pruner=pruner,
        )
        say_end()


if __name__ == "__main__":
    main()
