"""Patterns with several results, found without trying each result of one layer with all others."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch.fx import Node


def connected(upstream: Callable[..., bool]) -> Callable[..., bool]:
    """A matcher's `_match_nodes`, which at once refuses results that have other operands.

    A pattern's second result has nodes in common with its first. Where another candidate has other
    nodes there, it cannot match, as upstream sees after it has compared everything on the way.
    """

    @functools.wraps(upstream)
    def match_nodes(matcher: Any, pn: Node, gn: Node, match: Any, *more: Any) -> bool:
        matched = match.nodes_map
        if matched and pn in matcher.pattern_anchors:
            pairs = _pairs(pn, gn, matched)
            if any(p in matched and matched[p] is not g for p, g in pairs):
                return False
        return upstream(matcher, pn, gn, match, *more)

    return match_nodes


def _pairs(pattern: Node, node: Node, matched: dict[Node, Any]) -> Iterator[tuple[Node, Node]]:
    """Those that are compared with each other if all goes well, as far as one can tell easily."""
    waiting: list[tuple[Any, Any]] = [(pattern, node)]
    seen: set[Node] = set()
    while waiting:
        p, g = waiting.pop()
        if isinstance(p, list | tuple) and isinstance(g, list | tuple) and len(p) == len(g):
            waiting += zip(p, g, strict=True)
        elif isinstance(p, Node) and isinstance(g, Node) and p not in seen:
            seen.add(p)
            yield p, g
            if p not in matched and p.kwargs.keys() == g.kwargs.keys():
                waiting.append((p.args, g.args))
                waiting += ((p.kwargs[name], g.kwargs[name]) for name in p.kwargs)
