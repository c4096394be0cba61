"""One LoRA run: its settings, model, data, training and learning curve. Knows no Optuna, no database."""
