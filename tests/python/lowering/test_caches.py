"""Caches of llama::update_cache, wherever an attention and other things read them."""

from __future__ import annotations

import pytest
import torch
from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401  registers llama::*
from executorch_webgpu.lowering import partition, quiet_upstream
from support.lowered import Stated, follows_eager, graph_of

update, attend = torch.ops.llama.update_cache, torch.ops.llama.custom_sdpa


def forward_of(body):
    def forward(s, q, k, v, position):
        at = position[0].item()
        torch._check(at >= 0)
        torch._check(at < 10)
        return body(s, q, k, v, at)

    return forward


def attention(s, q, at):
    return attend(q, s.k, s.v, at, None, 0.0, True)


def once(s, q, k, v, at):
    update(k, s.k, at), update(v, s.v, at)
    return attention(s, q, at)


def twice(s, q, k, v, at):
    update(k, s.k, at), update(k * 2, s.k, at), update(v, s.v, at)
    return attention(s, q, at)


def at_two_places(s, q, k, v, at):
    update(k, s.k, at + 1), update(k * 2, s.k, at), update(v, s.v, at)
    return attention(s, q, at)


def after_the_attention(s, q, k, v, at):
    update(k, s.k, at), update(v, s.v, at)
    y = attention(s, q, at)
    update(v * 3, s.v, at)
    return y


def only_after(s, q, k, v, at):
    y = attention(s, q, at)
    update(k, s.k, at), update(v, s.v, at)
    return y


def read_before_and_after(s, q, k, v, at):
    old = s.k.sum(3)
    update(k, s.k, at), update(v, s.v, at)
    return attention(s, q, at), old, s.k * 2


def given_out(s, q, k, v, at):
    update(k, s.k, at), update(v, s.v, at)
    return attention(s, q, at), s.k


def two_attentions(s, q, k, v, at):
    update(k, s.k, at), update(v, s.v, at)
    return attention(s, q, at), attention(s, q * 2, at)


def one_cache(s, q, k, v, at):
    update(k, s.k, at)
    return attend(q, s.k, s.k, at, None, 0.0, True)


def no_attention(s, q, k, v, at):
    update(k, s.k, at)
    return s.k.sum(1)


def values_elsewhere(s, q, k, v, at):
    update(k, s.k, at), update(v, s.v, at + 1)
    return attention(s, q, at)


def values_left_alone(s, q, k, v, at):
    update(k, s.k, at)
    return attention(s, q, at)


def faded(s, q, k, v, at):
    s.k.mul_(0.5)
    return once(s, q, k, v, at)


def beside_a_counter(s, q, k, v, at):
    s.n.add_(q.sum(3)[0, 0])
    return once(s, q, k, v, at), s.n * 1


def layers_at_two_positions(s, q, k, v, at):
    q = once(s, q, k, v, at)
    update(k * 2, s.k2, at + 1), update(v * 2, s.v2, at + 1)
    return attend(q, s.k2, s.v2, at + 1, None, 0.0, True)


BODIES = [once, twice, at_two_places, after_the_attention, only_after, read_before_and_after]
BODIES += [given_out, two_attentions, one_cache, no_attention, values_elsewhere]
BODIES += [values_left_alone, faded, beside_a_counter, layers_at_two_positions]


def module(body) -> Stated:
    caches = {name: torch.zeros(1, 16, 2, 8) for name in ("k", "v", "k2", "v2")}
    return Stated(forward_of(body), **caches, n=torch.zeros(4))


def step(at: int, tokens: int = 2):
    rows = [torch.randn(1, tokens, heads, 8) for heads in (4, 2, 2)]
    return (*rows, torch.tensor([at]))


@pytest.mark.parametrize("body", BODIES, ids=lambda b: b.__name__)
def test_caches_over_several_steps(body):
    torch.manual_seed(1)
    follows_eager(module(body), *[step(2 * i) for i in range(3)])


@pytest.mark.parametrize("body", [once, twice])
def test_prompts_of_dynamic_length(body):
    torch.manual_seed(2)
    tokens = {1: torch.export.Dim("tokens", max=5)}
    shapes = {"inputs": (tokens, tokens, tokens, None)}
    steps = [step(0, 3), step(3, 1), step(4, 5)]
    follows_eager(module(body), *steps, dynamic_shapes=shapes)


def read_anew(s, q, k, v, positions):
    """As two writes and the attention of transformers' decoders may read it."""
    at, again, of_rows = (
        x.item() for x in (positions[0], positions[0:][0], positions[None][-1][0])
    )
    for number in (at, again, of_rows):
        torch._check(number >= 0)
        torch._check(number < 10)
    update(k, s.k, at), update(v, s.v, again)
    return attend(q, s.k, s.v, of_rows, None, 0.0, True)


def other_positions(s, q, k, v, positions):
    """As `read_anew`, but the attention's is that of the second row."""
    at, second = (x.item() for x in (positions[0], positions[None][0][1]))
    for number in (at, second):
        torch._check(number >= 0)
        torch._check(number < 10)
    update(k, s.k, at), update(v, s.v, at)
    return attend(q, s.k, s.v, second, None, 0.0, True)


@pytest.mark.parametrize(("forward", "outside"), [(read_anew, 0), (other_positions, 1)])
def test_one_position_by_several_ways(forward, outside):
    caches = {name: torch.zeros(1, 16, 2, 8) for name in ("k", "v")}
    module = Stated(forward, **caches)
    steps = [(*step(at)[:3], torch.arange(at, at + 2)) for at in (0, 2, 5)]
    with quiet_upstream(), torch.no_grad():
        edge = partition(graph_of(module, steps[0]))
    called = [str(n.target) for n in edge.exported_program().graph.nodes]
    assert sum("custom_sdpa" in name for name in called) == outside
    follows_eager(module, *steps)
