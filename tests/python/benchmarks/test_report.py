"""Reports of benchmarks: figures, tables, reading llama-bench, charts' data, text losses."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from compare import read_llama_bench
from executorch_webgpu.report import (
    Peaks,
    Report,
    Timings,
    Work,
    comparison,
    table,
    work_of,
    work_of_inspected,
)
from perplexity import losses, negative_log_likelihood, perplexity
from plot import by_label, read_results
from skeleton import Skeleton

WORK = Work(weight_bytes=1000, cache_bytes=10, token_parameters=1500, call_parameters=500)


def report(system: str = "ours", provider: str | None = "dawn", speed: float = 1.0) -> Report:
    """Prefill of 100 tokens at 1,000 tok/s, a decode step at 50 in 1 ms; `speed` times that."""
    prefill = [0.1 / speed, 0.05 / speed, 0.2 / speed]
    decode = [0.001 / speed] * 4
    host = {"encode": 20.4, "wait": 300.0}
    return Report(
        model="m.zip",
        adapter="an adapter",
        load_seconds=1.5,
        first_prompt_tokens=100,
        first_token_seconds=0.25,
        timings=[
            Timings("prefill", 100, prefill, warmups=2, cpu_seconds=0.01, dispatches=7),
            Timings("decode", 50, decode, warmups=2, dispatches=9, host_microseconds=host),
        ],
        system=system,
        provider=provider,
        driver="a driver 1.2",
        command="python x",
        gpu_bytes=5_000_000,
        work=WORK,
        peaks=Peaks(bandwidth=0.003, tflops=1e-4),
    )


def test_rates_are_medians_with_their_spread() -> None:
    prefill, decode = report().timings
    assert prefill.rate == pytest.approx(1000)
    assert prefill.spread == pytest.approx((500, 2000))
    assert decode.rate == pytest.approx(1000)


def test_shares_of_the_peaks() -> None:
    prefill, decode = report().timings
    peaks = report().peaks
    # 1000 + 50 * 10 bytes in 1 ms are half of 3 MB/s.
    assert decode.bandwidth_share(WORK, peaks) == pytest.approx(0.5)
    assert prefill.bandwidth_share(WORK, peaks) is None
    # 2 * (1500 * 100 + 500) operations in 0.1 s are 3.01 million a second.
    assert prefill.arithmetic_share(WORK, peaks) == pytest.approx(0.0301)
    assert prefill.arithmetic_share(WORK, Peaks()) is None


def test_json_round_trip() -> None:
    original = report()
    data = json.loads(json.dumps(original.to_json()))
    assert data["timings"][1]["bandwidth_share"] == pytest.approx(0.5)
    assert Report.from_json(data) == original
    assert Report.from_json({**data, "from_a_newer_version": 1}) == original


def test_markdown_shows_what_is_known() -> None:
    text = report().to_markdown()
    for part in (
        "loaded in 1.50 s",
        "first token 250 ms after a prompt of 100 tokens",
        "5 MB of GPU memory",
        "| prefill | 100 | 1,000.0 | 500.0 – 2,000.0 | 100.000 | 10.000 |",
        "encode 20, wait 300",
        "50.0%",
        "2 + 4",
    ):
        assert part in text
    bare = Report("m", "a", None, None, None, [Timings("decode", 0, [1.0])]).to_markdown()
    for part in ("CPU", "host", "dispatches", "peak", "loaded", "memory"):
        assert part not in bare


def test_comparison_has_a_row_for_every_length_and_ratios_to_the_last() -> None:
    other = report("llama.cpp", "vulkan", speed=0.5)
    other = Report(**{**vars(other), "timings": [other.timings[0], Timings("decode", 9, [1.0])]})
    lines = comparison([report(), other]).splitlines()
    assert lines[0] == "| tok/s | ours (dawn) | llama.cpp (vulkan) |"
    assert lines[2:] == [
        "| prefill 100 | 1,000 (×2.00) | 500 |",
        "| decode 50 | 1,000 |  |",
        "| decode 9 |  | 1 |",
    ]


def test_table_leaves_empty_columns_out() -> None:
    columns = {"a": str, "b": lambda row: "", "c": lambda row: f"{row + 1}"}
    assert table(columns, [1, 2]) == "| a | c |\n|---|---:|\n| 1 | 2 |\n| 2 | 3 |"


WEIGHTS = {
    0: ("uint8", [64, 16]),
    1: ("float32", [1, 64]),
    2: ("float32", [32]),
    3: ("float32", [1, 8, 2, 4]),
}
CALLS = [
    ("et_vk.rms_norm.default", [9, 2, 9, 9]),
    ("et_vk.linear_q4gsw.default", [9, 0, 1, 9, 9, 9]),
    ("sdpa_with_kv_cache.default", [9, 9, 9, 3, 3]),
    ("aten.select_copy.int", [9, 9, 9, 9]),
    ("et_vk.linear_q4gsw.default", [9, 0, 1, 9, 9, 9]),
]


def test_work_of_a_graph() -> None:
    expected = Work(128 + 2 * (1024 + 256), 2 * 8 * 4, 2048, 2048)
    assert work_of(CALLS, WEIGHTS) == expected
    values = ["%"] * 10
    for i, (kind, sizes) in WEIGHTS.items():
        values[i] = f"weight {kind}{sizes}"
    calls = [{"name": name, "args": arguments} for name, arguments in CALLS]
    assert work_of_inspected({"graph": {"values": values, "calls": calls}}) == expected
    assert work_of_inspected({"graph": {"values": values, "calls": calls[:2]}}) is None


def llama_row(prompt: int, generated: int, depth: int, samples: list[int]) -> dict[str, object]:
    return {
        "n_prompt": prompt,
        "n_gen": generated,
        "n_depth": depth,
        "samples_ns": samples,
        "gpu_info": "a GPU",
        "cpu_info": "a CPU",
        "backends": "Vulkan",
        "n_gpu_layers": 99,
        "build_number": 7,
        "build_commit": "Debian",
        "model_filename": "/x/1b.gguf",
    }


def test_llama_bench_is_read() -> None:
    rows = [llama_row(100, 0, 0, [10**8, 2 * 10**8]), llama_row(0, 32, 50, [32 * 10**6])]
    found = read_llama_bench(rows, "llama-bench")
    assert (found.label, found.adapter, found.model) == ("llama.cpp (vulkan)", "a GPU", "1b.gguf")
    prefill, decode = found.timings
    assert (prefill.name, prefill.tokens) == ("prefill", 100)
    assert (decode.name, decode.tokens) == ("decode", 50)
    assert prefill.rate == pytest.approx(100 / 0.15) and decode.rate == pytest.approx(1000)
    on_cpu = [{**row, "n_gpu_layers": 0} for row in rows]
    assert read_llama_bench(on_cpu, "").label == "llama.cpp (cpu)"


def test_charts_take_one_report_or_several() -> None:
    one, other = report(), report("llama.cpp", "vulkan")
    assert read_results(one.to_json()) == [one]
    both = read_results({"reports": [one.to_json(), other.to_json()]})
    rows = by_label(both, "decode")
    lengths = {label: list(row) for label, row in rows.items()}
    assert lengths == {"ours (dawn)": [50], "llama.cpp (vulkan)": [50]}
    assert by_label(both, "nothing") == {}


def test_chart_is_written(tmp_path) -> None:
    from plot import plot

    for name in ("a.svg", "b.svg"):
        plot({"1b": [report(), report("llama.cpp", "vulkan")]}, tmp_path / name)
    text = (tmp_path / "a.svg").read_text()
    assert "1b: decode" in text and "llama.cpp (vulkan)" in text
    assert text == (tmp_path / "b.svg").read_text()


def test_perplexity_of_an_undecided_model_is_its_vocabulary() -> None:
    fed: list[tuple[list[int], int]] = []

    def undecided(tokens: list[int], position: int) -> np.ndarray:
        fed.append((tokens, position))
        return np.full(8, 3.0, np.float32)

    found = losses(undecided, [1, 2, 3, 4, 5], 3, 1)
    assert fed == [([1], 0), ([2], 1), ([4], 0)]
    fed.clear()
    assert losses(undecided, [1, 2, 3, 4, 5], 5, 2) == [*found, found[0]]
    assert fed == [([1], 0), ([1, 2], 0), ([2, 3], 1), ([3, 4], 2)]
    assert perplexity(found) == pytest.approx(8)
    sure = np.array([-1000, 1000], np.float32)
    assert negative_log_likelihood(sure, 1) == 0 and negative_log_likelihood(sure, 0) == 2000
    assert math.isclose(perplexity([math.log(2)] * 3), 2)


def test_made_up_weights_have_the_size_of_real_ones() -> None:
    constants = {
        "w": ("UINT8", [3, 5]),
        "v": ("UINT8", [3, 5]),
        "norm": ("FLOAT32", [7]),
        "cache": ("FLOAT32", [1, 2, 3, 4]),
        "scales": ("FLOAT16", [90, 91]),
    }
    made = Skeleton(b"", constants, []).made_up_weights()
    sizes = {"w": 15, "v": 15, "norm": 28, "cache": 96, "scales": 16380}
    assert {key: len(data) for key, data in made.items()} == sizes
    assert made["w"] is made["v"]
    assert made["norm"] == np.ones(7, np.float32).tobytes() and not any(made["cache"])


def test_skeletons_keep_everything(tmp_path) -> None:
    skeleton = Skeleton(b"blob", {"k": ("UINT8", [2, 2])}, [8], WORK)
    skeleton.save(tmp_path / "m.zip")
    loaded = Skeleton.load(tmp_path / "m.zip")
    assert (loaded.blob, loaded.output_bytes, loaded.work) == (b"blob", [8], WORK)
    assert {k: tuple(v) for k, v in loaded.constants.items()} == skeleton.constants
