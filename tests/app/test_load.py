import pytest

from tests.app import load
from tests.app.load import Load


@pytest.mark.slow
def test_more_clients_than_the_queue_holds_are_answered_or_refused_in_words_while_others_hang(
    model_folders, monkeypatch
):
    """A short run of what `python -m tests.app.load` does for two minutes; memory is judged there."""
    monkeypatch.setenv("SER_HF_LIMIT_QUEUE", "3")
    model, baseline = map(str, model_folders)
    loaded = load.measure(8, 3, "--model", model, "--baseline", baseline)
    assert loaded.failures == []
    assert "Traceback" not in loaded.printed
    assert loaded.counts["answered"] >= 8
    said = " ".join(loaded.words)
    for words in ("silence", "bad.wav", "exceeded", "Queue is full"):
        assert words in said
    assert len(loaded.slow) == 2
    assert "answered: " in loaded.report()


def test_a_failure_a_traceback_or_a_leak_does_not_hold():
    """So that the command can fail."""
    good = Load(memory=[500, 600, 610])
    good.counts["answered"] = 1
    assert good.holds()
    for spoilt in (
        Load(counts=good.counts, memory=[500, 600, 700]),
        Load(counts=good.counts, memory=good.memory, failures=["x"]),
        Load(counts=good.counts, memory=good.memory, printed="Traceback (most recent call last)"),
        Load(memory=good.memory),
    ):
        assert not spoilt.holds()
