"""YAML text → its node tree with line numbers, or the one syntax error with a hint of what was meant."""

import re
from typing import Final

import yaml
from yaml import MappingNode, Node, ScalarNode
from yaml.error import MarkedYAMLError
from yaml.reader import ReaderError

_UNQUOTED: Final = (
    re.compile(r"[:\-\[,]\s*(\*[^\s,\]}]*)"),  # * and *.example.com read as an alias
    re.compile(r"((?:\w+://)?\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\](?::\d+)?)"),  # [::1]:80 reads as a list
    re.compile(r"(?:^|[:\-\[,])\s+([@`%][^\s,\]}]*)"),  # characters that YAML keeps to itself
    re.compile(r"(?:^|[:\-\[,])\s+(:[^\s,\]}]+)"),  # :: and ::1 read as an empty key
)
_REFERENCE: Final = re.compile(r"(\$\{[^}]*\}?)")  # its braces end {port: ${PORT}} too early
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_NULL: Final = "tag:yaml.org,2002:null"


class YamlError(ValueError):
    """The text is not YAML. `line` counts from 1, 0 where unknown."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str) -> MappingNode | None:
    """The top-level mapping, None for a document without content; YamlError for anything else."""
    try:
        node = yaml.CSafeLoader(text).get_single_node()
    except MarkedYAMLError as error:
        raise _explained(error, text) from None
    except (ReaderError, UnicodeEncodeError) as error:
        raise YamlError(
            _first_forbidden(text), f"contains a character that YAML does not allow: {error.reason}"
        ) from None
    except yaml.YAMLError as error:
        raise YamlError(0, f"is not valid YAML: {error}") from None
    if node is None or is_null(node):
        return None
    if not isinstance(node, MappingNode):
        raise YamlError(line_of(node), "the top level must be a mapping of sections such as `server:` and `backends:`")
    return node


def line_of(node: Node) -> int:
    """The line on which a node begins, from 1."""
    return node.start_mark.line + 1


def is_null(node: Node) -> bool:
    """True for a key with nothing behind it, `~` and `null`."""
    return isinstance(node, ScalarNode) and node.tag == _NULL


def _first_forbidden(text: str) -> int:
    # Counted here, since libyaml gives an offset in bytes of its own encoding and the binding none at all.
    bad = _FORBIDDEN.search(text)
    return text.count("\n", 0, bad.start()) + 1 if bad else 0


def _explained(error: MarkedYAMLError, text: str) -> YamlError:
    problem, lines = error.problem or "it cannot be read", text.splitlines()
    patterns = (_REFERENCE, *_UNQUOTED) if "flow" in (error.context or "") else _UNQUOTED
    for mark in filter(None, (error.problem_mark, error.context_mark)):
        line = lines[mark.line] if mark.line < len(lines) else ""
        found = next(filter(None, (pattern.search(line) for pattern in patterns)), None)
        if found:
            return YamlError(mark.line + 1, f'{problem}; put quotes around it: "{found[1]}"')
    last = error.problem_mark or error.context_mark
    number = min(last.line, max(len(lines) - 1, 0)) if last else -1
    return YamlError(number + 1, f"is not valid YAML: {problem}{_advice(problem, lines, number)}")


def _advice(problem: str, lines: list[str], number: int) -> str:
    if lines and number >= 0 and re.match(r" *\t", lines[number]):
        return "; indent with spaces, not tabs"
    if "mapping values" in problem or "block" in problem:
        return "; check the indentation of this line and the one above, and quote a value that contains ': '"
    return ""
