"""A delegate without its weights: its graph and the sizes of its constants, a few KB.

It travels to any machine and runs there with made-up weights, whose values make no difference to
speed.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from executorch_webgpu.report import Work, work_of

# Made-up constants repeat so many elements.
_PATTERN = 4096

_DTYPES = {"UINT8": np.uint8, "INT8": np.int8, "INT32": np.int32, "FLOAT16": np.float16}


@dataclass(frozen=True)
class Skeleton:
    """A delegate without its weights.

    Attributes:
        constants: (dtype, sizes) of each by its key.
        output_bytes: of each output, at its largest.
        work: the least that a call has to do; None when a skeleton does not say.
    """

    blob: bytes
    constants: dict[str, tuple[str, list[int]]]
    output_bytes: list[int]
    work: Work | None = None

    @classmethod
    def of_program(cls, path: Path) -> Skeleton:
        """Take apart a .pte."""
        from executorch.exir._serialize._program import deserialize_pte_binary

        program = deserialize_pte_binary(path.read_bytes()).program
        index = program.execution_plan[0].delegates[0].processed.index
        return cls.of_blob(bytes(program.backend_delegate_data[index].data))

    @classmethod
    def of_blob(cls, blob: bytes) -> Skeleton:
        """Take apart a delegate's blob."""
        from executorch.backends.vulkan.serialization import vulkan_graph_schema as schema
        from executorch.backends.vulkan.serialization.vulkan_graph_serialize import (
            VulkanDelegateHeader,
            flatbuffer_to_vk_graph,
        )

        header = VulkanDelegateHeader.from_bytes(blob[: VulkanDelegateHeader.EXPECTED_LENGTH])
        end = header.flatbuffer_offset + header.flatbuffer_size
        graph = flatbuffer_to_vk_graph(blob[header.flatbuffer_offset : end])
        weights = {
            i: (value.value.datatype.name, list(value.value.dims), value.value.constant_id)
            for i, value in enumerate(graph.values)
            if isinstance(value.value, schema.VkTensor) and value.value.constant_id >= 0
        }
        work = work_of(
            [(call.name, call.args) for call in graph.chain],
            {i: (dtype.lower(), sizes) for i, (dtype, sizes, _) in weights.items()},
        )
        constants = {
            graph.constants[number].named_key: (dtype, sizes)
            for dtype, sizes, number in weights.values()
        }
        outputs = [graph.values[i].value for i in graph.output_ids]
        return cls(blob, constants, [4 * int(np.prod(o.dims)) for o in outputs], work)

    @classmethod
    def load(cls, path: Path) -> Skeleton:
        """Read what `save` wrote."""
        with zipfile.ZipFile(path) as archive:
            facts = json.loads(archive.read("facts.json"))
            work = Work(**facts["work"]) if facts.get("work") else None
            return cls(archive.read("blob"), facts["constants"], facts["output_bytes"], work)

    def save(self, path: Path) -> None:
        """Write a .zip."""
        facts = {
            "constants": self.constants,
            "output_bytes": self.output_bytes,
            "work": asdict(self.work) if self.work else None,
        }
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("blob", self.blob)
            archive.writestr("facts.json", json.dumps(facts))

    def made_up_weights(self) -> dict[str, bytes]:
        """Bytes of each constant by its key; constants of one type and size share theirs."""
        made: dict[tuple[str, tuple[int, ...]], bytes] = {}
        for dtype, sizes in self.constants.values():
            kind = (dtype, tuple(sizes))
            if kind not in made:
                made[kind] = _made_up(*kind)
        return {key: made[dtype, tuple(sizes)] for key, (dtype, sizes) in self.constants.items()}


def _made_up(dtype: str, sizes: tuple[int, ...]) -> bytes:
    """Norms of one, empty caches, random nibbles and small scales; rows of a pattern repeated."""
    rng = np.random.default_rng(0)
    kind = np.dtype(_DTYPES.get(dtype, np.float32))
    size = int(np.prod(sizes)) * kind.itemsize
    if len(sizes) == 4:
        return bytes(size)
    if np.issubdtype(kind, np.integer):
        pattern = rng.integers(0, 100, _PATTERN).astype(kind)
    elif len(sizes) == 1:
        pattern = np.ones(_PATTERN, kind)
    else:
        pattern = (rng.standard_normal(_PATTERN) * 0.01).astype(kind)
    repeats = -(-size // pattern.nbytes)
    return (pattern.tobytes() * repeats)[:size]
