from dataclasses import fields

import pytest

from app.limits import PREFIX, Limits


def test_the_environment_sets_a_limit_and_leaves_the_others():
    limits = Limits.from_environment({f"{PREFIX}SECONDS": "120", "OTHER": "1"})
    assert limits.seconds == 120
    assert limits.megabytes == Limits().megabytes


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "many", "", "٣"])
def test_what_is_no_limit_is_named(value):
    with pytest.raises(ValueError, match=f"{PREFIX}QUEUE="):
        Limits.from_environment({f"{PREFIX}QUEUE": value})


def test_an_unknown_limit_is_named_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"no limit 'SER_HF_LIMIT_SECOND'; did you mean 'SER_HF_LIMIT_SECONDS'\?"):
        Limits.from_environment({f"{PREFIX}SECOND": "1"})


def test_every_limit_is_documented():
    for field in fields(Limits):
        assert f"        {field.name}: " in Limits.__doc__
