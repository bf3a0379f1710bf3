import pytest

from app.elements import model_name

COMMIT = "1a2b3c4d5e" * 4


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ser-whisper", "ser-whisper"),
        ("alice/ser-whisper", "alice/ser-whisper"),
        ("alice/ser-whisper@v1.0", "alice/ser-whisper@v1.0"),
        (f"alice/ser-whisper@{COMMIT}", "alice/ser-whisper"),
        (COMMIT, COMMIT),  # a folder's name, whatever it looks like
    ],
)
def test_the_digits_of_a_commit_are_not_shown(name, shown):
    assert model_name(name) == shown
