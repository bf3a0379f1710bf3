import pytest

from ser_hf.names import nearest, unknown_name


@pytest.mark.parametrize(
    ("name", "near"), [("ravdes", "ravdess"), ("RAVDESS", None), ("emo-db", "emodb"), ("", None), ("xyz", None)]
)
def test_the_nearest_name_or_none(name, near):
    assert nearest(name, ["ravdess", "tess", "emodb"]) == near


def test_no_names_at_all():
    assert nearest("x", []) is None


def test_a_name_that_is_unknown_is_answered_with_the_nearest_and_with_all():
    words = unknown_name("protocol", "actr", ("actor", "random"))
    assert words == "there is no protocol 'actr'; did you mean 'actor'? There are: actor, random"
    assert unknown_name("protocol", "zzz", ("actor",)) == "there is no protocol 'zzz'; there are: actor"
