"""LoRA Sweep: many LoRA trials, searched, pruned, recorded and compared."""
