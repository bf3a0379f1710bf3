"""A Hugging Face Hub on this machine, behind `tests.hub_server`."""
