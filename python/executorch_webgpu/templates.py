"""What chat templates are written for: Jinja, with what Hugging Face's transformers adds to it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from jinja2 import Environment, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


class _Generation(Extension):
    """``{% generation %}`` marks what a model is trained to say, and changes no text."""

    tags = {"generation"}  # noqa: RUF012  as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def environment() -> Environment:
    """A template comes with a model file, so it is not trusted."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    made.globals |= {"raise_exception": _raise, "strftime_now": _strftime_now}
    made.filters["tojson"] = _to_json
    return made


def _raise(message: object) -> None:
    raise TemplateError(" ".join(str(message).split()))


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    """Not Jinja's own filter, which writes characters of HTML as escapes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)
