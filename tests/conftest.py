import hypothesis

# A limit in time would fail on a machine that is busy with something else.
hypothesis.settings.register_profile("lora-sweep", deadline=None)
hypothesis.settings.load_profile("lora-sweep")
