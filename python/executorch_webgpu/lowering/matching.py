"""Patterns with several results, found without trying each result of one layer with all others."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch.fx import Node


def connected(upstream: Callable[..., bool]) -> Callable[..., bool]:
    """A matcher's `_match_nodes`, which at once refuses results that have other operands.

    A pattern's second result has nodes in common with its first. Where another candidate has other
    nodes there, it cannot match, as upstream sees after it has compared everything on the way.
    """

    @functools.wraps(upstream)
    def match_nodes(matcher: Any, pn: Node, gn: Node, match: Any, *more: Any) -> bool:
        is_other = match.nodes_map and pn in matcher.pattern_anchors and not any(more)
        if is_other and _differ(pn, gn, match.nodes_map):
            return False
        return upstream(matcher, pn, gn, match, *more)

    return match_nodes


def _differ(pattern: Any, node: Any, matched: dict[Node, Any]) -> bool:
    """Whether it is easily seen that a pattern's node is not that of a graph."""
    if isinstance(pattern, list | tuple) and isinstance(node, list | tuple):
        pairs = zip(pattern, node, strict=False) if len(pattern) == len(node) else ()
        return any(_differ(p, n, matched) for p, n in pairs)
    if not (isinstance(pattern, Node) and isinstance(node, Node)):
        return False
    if pattern in matched:
        return matched[pattern] is not node
    if pattern.op != "call_function":
        return False
    if node.op != "call_function" or pattern.target != node.target:
        return True
    return pattern.kwargs.keys() == node.kwargs.keys() and _differ(
        (pattern.args, list(pattern.kwargs.values())),
        (node.args, [node.kwargs[name] for name in pattern.kwargs]),
        matched,
    )
