"""A registry of named choices."""

import pytest

from dipddpm.registry import Registry


@pytest.fixture
def shapes():
    registry: Registry[type] = Registry("shape")
    for name in ("circle", "square"):
        registry.register(name)(object)
    return registry


def test_a_registered_choice_is_found_by_its_name(shapes):
    @shapes.register("triangle")
    class Triangle:
        pass

    assert shapes["triangle"] is Triangle
    assert shapes.names == ("circle", "square", "triangle")


def test_an_unknown_name_is_an_error_that_names_the_known_ones(shapes):
    with pytest.raises(ValueError, match=r"no shape sqare \(did you mean square\?\); there are: circle, square"):
        shapes["sqare"]
    assert "sqare" not in shapes and shapes.get("sqare") is None


def test_a_name_is_taken_once(shapes):
    with pytest.raises(ValueError, match="the shape circle exists already"):
        shapes.register("circle")
    assert shapes["circle"] is object
