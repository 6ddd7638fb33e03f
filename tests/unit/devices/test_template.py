"""Templates: what they replace, what they refuse, and that they reach nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbolt.devices import template
from ringbolt.devices.template import TemplateError

VALUES: template.Values = {
    "index": "1",
    "container_path": "/dev/gps1",
    "properties": {"ID_SERIAL_SHORT": "A7"},
    "attributes": {"queue/rotational": "0"},
}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("", ""),
        ("/dev/gps{index}", "/dev/gps1"),
        ("{container_path},{container_path}", "/dev/gps1,/dev/gps1"),
        ("{properties[ID_SERIAL_SHORT]}", "A7"),
        ("{attributes[queue/rotational]}", "0"),
        ("<{properties[ABSENT]}{serial}>", "<>"),
        ('{{"a": {index}}}', '{"a": 1}'),
        ("{{{index}}}", "{1}"),
        ("{{index}}", "{index}"),
    ],
)
def test_variables_and_escapes_are_replaced(text: str, rendered: str) -> None:
    assert template.parse(text).render(VALUES) == rendered


def test_variables_are_named_without_their_subscripts() -> None:
    parsed = template.parse("{index} {properties[A]} {properties[B]} {{id}}")
    assert parsed.variables == {"index", "properties"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{indx}", "did you mean {index}?"),
        ("{propertys[A]}", "did you mean {properties[KEY]}?"),
        ("{zzzzzz}", "known are {attributes[KEY]} {container_path}"),
        ("{}", "unknown variable {}"),
        ("/dev/{index", "unbalanced '{' at character 6"),
        ("/dev/index}", "write '}}'"),
        ("{{index}", "unbalanced '}'"),
        ("{index[0]}", "takes no subscript"),
        ("{properties}", "needs a key; write {properties[KEY]}"),
        ("{properties[]}", "unknown variable"),
        ("{index.__class__}", "unknown variable"),
        ("{index!r}", "unknown variable"),
        ("{index:>9}", "unknown variable"),
        ("{properties[A].x}", "unknown variable"),
    ],
)
def test_errors_say_what_to_write_instead(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        template.parse(text)
    assert message in str(caught.value)
    assert repr(text) in str(caught.value)


def test_a_variable_outside_the_allowed_set_is_refused() -> None:
    with pytest.raises(TemplateError, match="container_path"):
        template.parse("{container_path}", template.NODE_VARIABLES)


@given(st.text())
def test_any_text_renders_to_itself_once_its_braces_are_escaped(text: str) -> None:
    escaped = text.replace("{", "{{").replace("}", "}}")
    parsed = template.parse(escaped)
    assert parsed.render(VALUES) == text
    assert not parsed.variables


@given(st.text(alphabet="{}[]abindex. ", max_size=30))
def test_any_text_parses_or_is_refused_with_a_template_error(text: str) -> None:
    try:
        parsed = template.parse(text)
    except TemplateError:
        return
    assert isinstance(parsed.render(VALUES), str)


@given(st.text(alphabet=st.characters(exclude_characters="{}")), st.text())
def test_values_are_never_parsed_again(literal: str, value: str) -> None:
    assert template.parse(literal + "{id}").render({"id": value}) == literal + value
