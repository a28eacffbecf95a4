import pytest
from pydantic import BaseModel, Field, ValidationError

from danmax_bluesky.config import Settings
from danmax_bluesky.reprs import changed_arguments, html_table


class Camera(BaseModel):
    name: str
    exposure_s: float = 0.1
    rows: list[int] = Field(default_factory=list)

    def __repr_args__(self):
        return changed_arguments(self, super().__repr_args__())


@pytest.mark.parametrize(
    ("camera", "shown"),
    [
        (Camera(name="orca"), "Camera(name='orca')"),
        (Camera(name="orca", exposure_s=0.1, rows=[]), "Camera(name='orca')"),
        (Camera(name="orca", exposure_s=0.2, rows=[1]), "Camera(name='orca', exposure_s=0.2, rows=[1])"),
    ],
)
def test_a_model_shows_what_must_be_given_and_what_is_not_as_usual(camera, shown):
    assert repr(camera) == shown
    assert eval(shown) == camera


def test_a_default_that_depends_on_other_values_is_as_usual_too():
    assert repr(Settings()) == "Settings()"
    assert "flat_position={}" in repr(Settings(flat_position={}))


def test_a_secret_is_not_shown():
    shown = repr(Settings(catalog={"api_key": "mellon", "kind": "off"}))
    assert "mellon" not in shown
    assert "kind='off'" in shown


def test_a_wrong_value_is_refused_as_before():
    with pytest.raises(ValidationError, match="exposure_s"):
        Camera(name="orca", exposure_s="long")


def test_a_table_escapes_what_it_is_given():
    table = html_table("<Scan>", {"sample": "<b>bone</b> & tooth"})
    assert "<b>&lt;Scan&gt;</b>" in table
    assert "&lt;b&gt;bone&lt;/b&gt; &amp; tooth" in table
