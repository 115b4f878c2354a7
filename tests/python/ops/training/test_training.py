"""Loops that train: the stock exporter's programs and delegates, step by step beside eager."""

from __future__ import annotations

from typing import Any

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::*
import executorch_webgpu  # noqa: F401  registers the backend
import pytest
import torch
from executorch.backends.vulkan import utils
from executorch.backends.vulkan.op_registry import OpFeatures, vulkan_supported_ops
from support.cases import F32, I64, Tolerance, check_outputs, generator_for
from support.delegate import GraphBuilder
from support.quantized import random_weight
from support.stock import program
from torch import nn

STEPS = 40
CLOSE = 1e-4  # of losses
LEARNED = Tolerance(1e-3, 1e-4)
GRADIENT = Tolerance(1e-4, 1e-4)
RATE, BETA1, BETA2, EPS, DECAY = 0.02, 0.9, 0.99, 1e-8, 0.01

et_vk = torch.ops.et_vk

# torch 2.13 refuses to export et_vk::adamw_step: what it returns are its arguments. The same
# operator that returns copies can be, and is written down as that one would be.
_library = torch.library.Library("etwebgpu_test", "DEF")
_library.define(
    "adamw_step(Tensor(a!) param, Tensor(b!) m, Tensor(c!) v, Tensor grad, float lr, float beta1,"
    " float beta2, float eps, float weight_decay, float bias_correction1, float bias_correction2)"
    " -> (Tensor, Tensor, Tensor)"
)


def _adamw(*args: Any) -> tuple[torch.Tensor, ...]:
    return tuple(t.clone() for t in et_vk.adamw_step(*args))


_library.impl("adamw_step", _adamw, "CompositeExplicitAutograd")
_FEATURES = OpFeatures(inputs_storage=utils.CONTIGUOUS_ANY, inputs_dtypes=utils.FP_T)


class LastLayer(nn.Module):
    """Logits of a frozen body and a layer that learns; its weight and moments are buffers."""

    def __init__(self) -> None:
        super().__init__()
        generator = generator_for("last layer")
        self.register_buffer("body", torch.randn(24, 16, generator=generator) * 0.3)
        self.register_buffer("weight", torch.randn(5, 24, generator=generator) * 0.3)
        self.register_buffer("m", torch.zeros(5, 24))
        self.register_buffer("v", torch.zeros(5, 24))

    def step(self, *args: Any) -> None:
        torch.ops.etwebgpu_test.adamw_step(*args)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(x @ self.body.t())
        logits = hidden @ self.weight.t()
        loss, d_logits = et_vk.fused_ce(logits, labels, float(x.shape[0]))
        gradient = et_vk.linear_dW(d_logits, hidden)
        hyper = (RATE, BETA1, BETA2, EPS, DECAY, 1.0, 1.0)
        self.step(self.weight, self.m, self.v, gradient, *hyper)
        return loss


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points around five centers, and which; every seventh row is not to count."""
    generator = generator_for("batch", step % 8)
    labels = torch.randint(0, 5, (32,), generator=generator)
    centers = torch.randn(5, 16, generator=generator_for("centers"))
    x = centers[labels] + 0.5 * torch.randn(32, 16, generator=generator)
    labels[::7] = -1
    return x, labels


def test_a_last_layer_whose_state_is_the_delegates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exported by the stock packages with its buffers in the delegate; runs 40 steps."""
    monkeypatch.setitem(vulkan_supported_ops, "etwebgpu_test::adamw_step", _FEATURES)
    stock = program(LastLayer(), *batch(0))
    trained, eager = stock.load(), LastLayer()
    losses = []
    with torch.no_grad():
        for step in range(STEPS):
            inputs = batch(step)
            expected = eager(*inputs)
            (loss,) = trained.execute(list(inputs))
            losses.append(float(loss))
            assert abs(float(loss) - float(expected)) < CLOSE, f"step {step}"
    assert losses[-1] < 0.5 * losses[0]


# --- LoRA: a 4-bit layer that stays, and two thin matrices that learn ---------------------------

GROUP, WIDE, MIDDLE, RANK, CLASSES, ROWS = 32, 64, 32, 4, 6, 24


def corrections(step: int) -> tuple[float, float]:
    return 1 - BETA1 ** (step + 1), 1 - BETA2 ** (step + 1)


class Lora:
    """One step in eager: logits = head(tanh(q4(x) + up(down(x)))), gradients by autograd."""

    def __init__(self) -> None:
        generator = generator_for("lora")
        self.packed, self.scales = random_weight(MIDDLE, WIDE, GROUP, 0)
        self.front = torch.randn(WIDE, WIDE, generator=generator) * 0.2
        self.head = torch.randn(CLASSES, MIDDLE, generator=generator) * 0.4
        self.weights = [
            torch.randn(RANK, WIDE, generator=generator) * 0.2,
            torch.zeros(MIDDLE, RANK),
        ]
        self.moments = [[torch.zeros_like(w), torch.zeros_like(w)] for w in self.weights]

    def step(self, x: torch.Tensor, labels: torch.Tensor, step: int) -> torch.Tensor:
        down, up = (w.clone().requires_grad_(True) for w in self.weights)
        base = et_vk.linear_q4gsw(x @ self.front.t(), self.packed, self.scales, GROUP)
        hidden = torch.tanh(base + x @ self.front.t() @ down.t() @ up.t())
        loss, _ = et_vk.fused_ce(hidden @ self.head.t(), labels, float(x.shape[0]))
        gradients = torch.autograd.grad(loss, (down, up))
        for weight, moments, gradient in zip(self.weights, self.moments, gradients, strict=True):
            hyper = (RATE, BETA1, BETA2, EPS, DECAY, *corrections(step))
            et_vk.adamw_step(weight, *moments, gradient, *hyper)
        return loss.detach()


class LoraDelegate:
    """The same step as a graph; the correction of moments is another delegate's for each step, so
    weights and moments go in and come out."""

    def __init__(self, lora: Lora, step: int) -> None:
        g = self.g = GraphBuilder()
        x, labels = g.input(F32, (ROWS, WIDE)), g.input(I64, (ROWS,))
        sizes = [(RANK, WIDE), (MIDDLE, RANK)]
        states = [[g.input(F32, s) for _ in range(3)] for s in sizes]
        (down, up), middle = (s[0] for s in states), (ROWS, MIDDLE)
        base = g.constant(lora.packed), g.constant(lora.scales), GROUP
        wide = self._linear(x, g.constant(lora.front), WIDE)
        thin = self._linear(wide, down, RANK)
        frozen = g.call("et_vk.linear_q4gsw.default", wide, *base, None, out=(F32, middle))
        both = self._two("aten.add.Tensor", frozen, self._linear(thin, up, MIDDLE), 1, sizes=middle)
        hidden = self._two("aten.tanh.default", both, sizes=middle)
        head = g.constant(lora.head)
        logits = self._linear(hidden, head, CLASSES)
        outs = [(F32, ()), (F32, (ROWS, CLASSES))]
        loss, d_logits = g.call("et_vk.fused_ce.default", logits, labels, float(ROWS), out=outs)
        d_hidden = self._two("aten.mm.default", d_logits, head, sizes=middle)
        square = self._two("aten.mul.Tensor", hidden, hidden, sizes=middle)
        slope = self._two("aten.sub.Tensor", g.constant(torch.ones(1)), square, 1, sizes=middle)
        d_both = self._two("aten.mul.Tensor", d_hidden, slope, sizes=middle)
        d_thin = self._two("aten.mm.default", d_both, up, sizes=(ROWS, RANK))
        # What goes on to the layers below, through the frozen one too.
        name = "et_vk.linear_q4gsw_backward.default"
        d_wide = g.call(name, d_both, *base, out=(F32, (ROWS, WIDE)))
        gradients = (d_thin, wide, sizes[0]), (d_both, thin, sizes[1])
        hyper = (RATE, BETA1, BETA2, EPS, DECAY, *corrections(step))
        g.output(loss, d_wide)
        for (d_out, given, shape), state in zip(gradients, states, strict=True):
            gradient = self._two("et_vk.linear_dW.default", d_out, given, sizes=shape)
            name = "et_vk.adamw_step.default"
            g.output(*g.call(name, *state, gradient, *hyper, out=[(F32, shape)] * 3))

    def _linear(self, x: Any, weight: Any, width: int) -> Any:
        return self.g.call("aten.linear.default", x, weight, None, out=(F32, (ROWS, width)))

    def _two(self, name: str, *args: Any, sizes: tuple[int, ...]) -> Any:
        return self.g.call(name, *args, out=(F32, sizes))


def lora_batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = generator_for("lora batch", step % 4)
    labels = torch.randint(0, CLASSES, (ROWS,), generator=generator)
    centers = torch.randn(CLASSES, WIDE, generator=generator_for("lora centers"))
    return centers[labels] + 0.3 * torch.randn(ROWS, WIDE, generator=generator), labels


def test_lora_over_a_4_bit_layer() -> None:
    lora, again = Lora(), Lora()
    states = [t for w, m in zip(again.weights, again.moments, strict=True) for t in (w, *m)]
    losses = []
    for step in range(STEPS):
        x, labels = lora_batch(step)
        with LoraDelegate(lora, step).g.load() as model:
            loss, _, *states = model.run(x, labels, *states)
        expected = lora.step(x, labels, step)
        losses.append(float(loss))
        check_outputs([loss], [expected], Tolerance(0, CLOSE), f"step {step}")
    assert losses[-1] < 0.5 * losses[0]
    check_outputs(states[::3], lora.weights, LEARNED)


@pytest.mark.parametrize("rows", [1, ROWS])
def test_what_goes_on_below_a_4_bit_layer(rows: int) -> None:
    """The gradient that the way back gives is autograd's."""
    packed, scales = random_weight(MIDDLE, WIDE, GROUP, 1)
    x = torch.randn(rows, WIDE, generator=generator_for("below")).requires_grad_(True)
    d_out = torch.randn(rows, MIDDLE, generator=generator_for("above"))
    et_vk.linear_q4gsw(x, packed, scales, GROUP).backward(d_out)
    g = GraphBuilder()
    weight = g.constant(packed), g.constant(scales), GROUP
    name = "et_vk.linear_q4gsw_backward.default"
    g.output(g.call(name, g.input(F32, (rows, MIDDLE)), *weight, out=(F32, (rows, WIDE))))
    assert x.grad is not None
    with g.load() as model:
        check_outputs(model.run(d_out), [x.grad], GRADIENT)
