import pytest

from app.limits import PREFIX, Limits


def test_limits_are_set_by_the_environment():
    limits = Limits.from_environment({f"{PREFIX}SECONDS": "120", "OTHER": "1"})
    assert limits == Limits(seconds=120)


@pytest.mark.parametrize(
    ("variable", "value"),
    [*(("QUEUE", value) for value in ("0", "-1", "2.5", "many", "", "٣")), ("SECOND", "1")],
)
def test_limits_name_a_wrong_variable(variable, value):
    with pytest.raises(ValueError, match=f"{PREFIX}{variable}"):
        Limits.from_environment({f"{PREFIX}{variable}": value})
