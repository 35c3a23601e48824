import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.config.interpolate import interpolate
from aegis.config.load import ConfigErrors, load_text

ENVIRON = {"A": "one", "EMPTY": "", "B2_": "${A}", "TEXT": "x\nserver: {port: 1}"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "one"),
        ("-${A}-${A}-", "-one-one-"),
        ("${EMPTY}", ""),
        ("${A:-two}", "one"),
        ("${UNSET:-two}", "two"),
        ("${EMPTY:-two}", "two"),
        ("${UNSET:-}", ""),
        ("${UNSET:-a:-b}", "a:-b"),
        ("${UNSET:-$$}", "$"),
        ("${A:?must be set}", "one"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$${A}", "$one"),
        ("$A $", "$A $"),
        ("${B2_}", "${A}"),
    ],
)
def test_variables_are_filled_in_once(text, value):
    assert interpolate(text, ENVIRON) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${UNSET}", r"the environment variable UNSET is not set; set it or write \$\{UNSET:-default\}"),
        ("${UNSET:?put the port there}", "^put the port there$"),
        ("${EMPTY:?put the port there}", "^put the port there$"),
        ("${UNSET:?}", "UNSET must be set"),
        ("${}", "write \\$\\$"),
        ("${1A}", "is none of"),
        ("${A-b}", "is none of"),
        ("${A B}", "is none of"),
        ("${A", "is none of"),
        ("${A:-${B}}", "is none of"),
    ],
)
def test_an_unset_variable_without_default_is_an_error(text, message):
    with pytest.raises(ValueError, match=message):
        interpolate(text, ENVIRON)


@settings(deadline=None)
@given(st.text())
def test_doubling_each_dollar_gives_any_text_back(text):
    assert interpolate(text.replace("$", "$$"), {}) == text


@settings(deadline=None)
@given(st.text())
def test_what_a_variable_holds_is_never_looked_at_again(value):
    assert interpolate("<${V}>", {"V": value}) == f"<{value}>"


def test_a_value_with_a_newline_cannot_inject_keys():
    config = load_text('{backends: [{url: "http://a", weight: 1}], logging: {file: "${F:-}"}}', "f", {"F": ""})
    assert config.logging.file == ""
    with pytest.raises(ConfigErrors) as caught:
        load_text('{backends: [{url: "http://a", weight: 1}], logging: {level: "${TEXT}"}}', "f", ENVIRON)
    (error,) = caught.value.errors
    assert error.path == "logging.level"
    assert "\n" not in str(error)


def test_keys_are_not_interpolated():
    with pytest.raises(ConfigErrors, match="unknown key"):
        load_text('{backends: [{url: "http://a", weight: 1}], "${S}": {}}', "f", {"S": "server"})


def test_a_quoted_variable_becomes_a_number_where_a_number_is_asked_for():
    text = '{backends: [{url: "http://a", weight: "${W}"}], adaptive: {enabled: "${ON}"}}'
    config = load_text(text, "f", {"W": "3", "ON": "off"})
    assert config.backends[0].weight == 3
    assert config.adaptive.enabled is False
