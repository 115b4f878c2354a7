"""Linear attention that forgets: the gated delta rule."""

from __future__ import annotations

import pytest
import torch
from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401  registers llama::*
from support.capi import ModelError
from support.cases import F32, I32, SUMS, Shape, Tolerance, check_outputs, generator_for, rng_for
from support.cases import seeds as seeds_of
from support.delegate import GraphBuilder

NAME = "llama.gated_delta_rule.default"
CLOSE = Tolerance(5e-5, 2e-4)


def reference(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    decay: torch.Tensor,
    beta: torch.Tensor,
    state: torch.Tensor,
) -> list[torch.Tensor]:
    """Token by token, in float64."""
    q, k, v, g, b, s = (t.double() for t in (query, key, value, decay, beta, state))
    if g.dim() == 3:
        g = g.unsqueeze(-1).expand_as(k)
    shared = q.shape[1] // max(k.shape[1], 1)
    out = torch.zeros(*q.shape[:3], v.shape[-1], dtype=torch.float64)
    for t in range(q.shape[2]):
        s = s * g[:, :, t, :, None]
        change = (v[:, :, t] - torch.einsum("bhk,bhkv->bhv", k[:, :, t], s)) * b[:, :, t, None]
        s = s + k[:, :, t, :, None] * change[:, :, None]
        asked = s.repeat_interleave(shared, 1)
        out[:, :, t] = torch.einsum("bhk,bhkv->bhv", q[:, :, t], asked)
    return [out.float(), s.float()]


def rule_inputs(
    batch: int, queries: int, heads: int, tokens: int, depth: int, width: int, channels: bool,
    seed: object,
) -> list[torch.Tensor]:  # fmt: skip
    generator = generator_for("delta rule", seed)
    q = torch.randn(batch, queries, tokens, depth, generator=generator)
    k = torch.randn(batch, heads, tokens, depth, generator=generator) / max(depth, 1) ** 0.5
    v = torch.randn(batch, heads, tokens, width, generator=generator)
    sizes = (batch, heads, tokens, depth) if channels else (batch, heads, tokens)
    decay = torch.rand(sizes, generator=generator)
    beta = torch.rand(batch, heads, tokens, generator=generator)
    return [q, k, v, decay, beta, torch.randn(batch, heads, depth, width, generator=generator)]


def rule_graph(tensors: list[torch.Tensor], name: str = NAME, **sizes: Shape) -> GraphBuilder:
    g = GraphBuilder()
    names = ("query", "key", "value", "decay", "beta", "state")
    bounds = [tuple(t.shape) for t in tensors]
    args = [g.input(F32, sizes.get(n, b)) for n, b in zip(names, bounds, strict=True)]
    outs = [(F32, (*bounds[0][:3], bounds[2][3])), (F32, bounds[5])]
    g.output(*g.call(name, *args, out=outs))
    return g


@pytest.mark.parametrize("seed", seeds_of(50))
def test_delta_rule(seed: int) -> None:
    """One decay for a head or for each channel; heads that queries share; 0 to many tokens."""
    rng = rng_for("delta rule", seed)
    heads = rng.choice((1, 2, 3))
    sizes = (rng.choice((1, 2)), heads * rng.choice((1, 1, 2)), heads)
    depth, width = rng.choice((1, 5, 16, 33)), rng.choice((1, 6, 16, 40))
    most, channels = rng.choice((1, 4, 20)), seed % 2 == 0
    with rule_graph(rule_inputs(*sizes, most, depth, width, channels, seed)).load() as model:
        for tokens in (most, 1, rng.randint(0, most), most):
            inputs = rule_inputs(*sizes, tokens, depth, width, channels, (seed, tokens))
            where = f"{sizes} {tokens} {depth} {width}"
            check_outputs(model.run(*inputs), reference(*inputs), CLOSE, where)


@pytest.mark.parametrize("name", [NAME, "llama.channelwise_gated_delta_rule.default"])
def test_delta_rule_as_the_operator_has_it(name: str) -> None:
    inputs = rule_inputs(2, 4, 2, 35, 8, 6, True, "operator")
    with rule_graph(inputs, name).load() as model:
        expected = list(torch.ops.llama.gated_delta_rule(*inputs))
        check_outputs(model.run(*inputs), expected, CLOSE)


def test_a_state_that_stays() -> None:
    """The state is a buffer of the delegate, which each call reads and writes."""
    inputs = rule_inputs(1, 2, 2, 3, 4, 5, False, "state")
    g = GraphBuilder()
    args = [g.input(F32, t.shape) for t in inputs[:5]]
    state = g.constant(torch.zeros(1, 2, 4, 5))
    out, after = g.call(NAME, *args, state, out=[(F32, (1, 2, 3, 5)), (F32, (1, 2, 4, 5))])
    g.call("aten.view_copy.default", after, [1, 2, 4, 5], out=state)
    g.output(out)
    kept = torch.zeros(1, 2, 4, 5)
    with g.load() as model:
        for step in range(4):
            given = rule_inputs(1, 2, 2, 3, 4, 5, False, ("state", step))[:5]
            expected, kept = reference(*given, kept)
            check_outputs(model.run(*given), [expected], SUMS, f"step {step}")


@pytest.mark.parametrize(
    ("argument", "sizes", "says"),
    [
        ("query", (1, 3, 4, 5), "3 heads of queries do not divide into the state's 2"),
        ("key", (1, 2, 4, 6), r"keys of sizes \[1, 2, 4, 6\] do not fit a state of sizes"),
        ("value", (1, 2, 3, 6), r"values of sizes \[1, 2, 3, 6\] do not fit .* \[1, 2, 4, 6\] are"),
        ("decay", (1, 2, 4, 4), r"decays of sizes \[1, 2, 4, 4\] do not fit a state"),
        ("decay", (1, 2), r"decays of sizes \[1, 2\] do not fit a state"),
        ("beta", (1, 2, 4, 1), r"betas of sizes \[1, 2, 4, 1\] do not fit a state"),
        ("state", (1, 2, 5), r"a state of sizes \[1, 2, 5\] and queries .* 4 dimensions"),
    ],
)
def test_delta_rule_refuses_what_does_not_fit(argument: str, sizes: Shape, says: str) -> None:
    inputs = rule_inputs(1, 2, 2, 4, 5, 6, False, "refused")
    with pytest.raises(ModelError, match=says):
        rule_graph(inputs, **{argument: sizes}).load()


def test_delta_rule_refuses_integers() -> None:
    inputs = rule_inputs(1, 2, 2, 4, 5, 6, False, "refused")
    g = GraphBuilder()
    args = [g.input(I32 if i == 1 else F32, t.shape) for i, t in enumerate(inputs)]
    outs = [(F32, (1, 2, 4, 6)), (F32, (1, 2, 5, 6))]
    g.output(*g.call(NAME, *args, out=outs))
    with pytest.raises(ModelError, match="keys of type int32"):
        g.load()
