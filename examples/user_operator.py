"""An operator of one's own on the GPU: attention's soft cap, cap * tanh(x / cap).

    python examples/user_operator.py

It is defined for eager PyTorch, for the runtime and for the exporter; the rest is ExecuTorch's
stock API. A process that only runs programs needs the first two parts.
"""

import executorch_webgpu
import torch
from executorch.backends.vulkan import op_registry, utils
from executorch.runtime import Runtime
from executorch_webgpu.lowering import lower_program

# --- The operator, as PyTorch knows it ---


@torch.library.custom_op("mylib::softcap", mutates_args=())
def softcap(x: torch.Tensor, cap: float) -> torch.Tensor:
    """x, smoothly kept between -cap and cap."""
    return cap * torch.tanh(x / cap)


@softcap.register_fake
def _(x: torch.Tensor, cap: float) -> torch.Tensor:
    return torch.empty_like(x)


# --- Its kernel: tensors are bound by name, cap is its number, count how many elements out has ---

KERNEL = """
#param WG
#params
@group(0) @binding(x) var<storage, read> x: array<f32>;
@group(0) @binding(out) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  if (i < params.count) {
    // WGSL leaves open what tanh gives where exp overflows.
    out[i] = params.cap * tanh(clamp(x[i] / params.cap, -20.0, 20.0));
  }
}
"""

executorch_webgpu.register_operator(torch.ops.mylib.softcap.default, KERNEL, sizes_like="x")


# --- For the exporter: the partitioner may put it into delegates ---


@op_registry.update_features("mylib::softcap")  # type: ignore[untyped-decorator]
def _softcap_features() -> op_registry.OpFeatures:
    return op_registry.OpFeatures(
        inputs_storage=utils.CONTIGUOUS_BUFFER, inputs_dtypes=utils.FP_T, supports_resize=True
    )


class Scores(torch.nn.Module):
    """Attention scores with a soft cap."""

    def forward(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = torch.ops.mylib.softcap(q @ k.transpose(-1, -2), 30.0)
        return scores.softmax(-1)


def main() -> None:
    """Export, run, and compare with eager PyTorch."""
    model, tokens = Scores().eval(), torch.export.Dim("tokens", max=64)
    inputs = torch.randn(8, 64, 32), torch.randn(8, 64, 32)
    exported = torch.export.export(
        model, inputs, dynamic_shapes={"q": {1: tokens}, "k": {1: tokens}}
    )
    program = Runtime.get().load_program(lower_program(exported).buffer)
    method = program.load_method("forward")
    assert method is not None
    for count in (64, 5, 33):
        q, k = torch.randn(8, count, 32) * 9, torch.randn(8, count, 32)
        (got,) = method.execute([q, k])
        torch.testing.assert_close(got, model(q, k), rtol=1e-4, atol=1e-5)
        print(f"{count} tokens: as eager PyTorch computes it")


if __name__ == "__main__":
    main()
