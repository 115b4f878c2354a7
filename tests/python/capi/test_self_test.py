"""Kernels are tried where they run (the option self_test): one that is wrong there is replaced,
named and remembered."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from executorch_webgpu import render
from rich.console import Console
from support.command import command
from support.delegate import GraphBuilder
from support.paths import REPOSITORY, TESTS
from support.program import save

SOURCES = REPOSITORY / "src"

# A linear layer of one row, in a process of its own: environment and templates are read once.
RUN = """
import json, pickle, sys
import executorch_webgpu
import numpy as np
from support.c_interface import ArrayModel
blob, named, capacities, x, wanted = pickle.loads(sys.stdin.buffer.read())
model = ArrayModel(blob, named, capacities)
error = float(np.abs(model.execute([x])[0] - wanted).max())
kernels = [d["kernel"].split("[")[0] for d in model.profile()["dispatches"]]
found = executorch_webgpu.devices()["selected"].get("self_test")
print(json.dumps({"right": error < 1e-3, "kernels": kernels, "found": found}))
"""


@pytest.fixture(scope="module")
def linear() -> bytes:
    x, weight = torch.randn(1, 64), torch.randn(96, 64)
    g = GraphBuilder()
    call = ("aten.linear.default", g.input(torch.float32, x.shape), g.prepack(weight), None)
    g.output(g.call(*call, out=(torch.float32, (1, 96))))
    made = g.delegate()
    arrays = (x.numpy(), (x @ weight.T).numpy())
    return pickle.dumps((made.blob, made.named, made.output_capacities, *arrays))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def kept(cache: Path) -> Path:
    return cache / "executorch-webgpu" / "self_test.json"


@pytest.fixture
def run(cache: Path, linear: bytes) -> Callable[..., dict[str, Any]]:
    def run(**environment: str) -> dict[str, Any]:
        result = subprocess.run(
            [sys.executable, "-c", RUN],
            input=linear,
            env=os.environ | {"XDG_CACHE_HOME": str(cache)} | environment,
            cwd=TESTS,
            capture_output=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr.decode()
        answer: dict[str, Any] = json.loads(result.stdout)
        return answer

    return run


def template(folder: Path, name: str, old: str, new: str) -> dict[str, str]:
    """The environment in which a kernel template is another."""
    (path,) = SOURCES.rglob(f"{name}.wgsl")
    text = path.read_text()
    assert old in text
    folder.mkdir(exist_ok=True)
    (folder / path.name).write_text(text.replace(old, new))
    return {"ETWEBGPU_TEMPLATES": str(folder)}


@pytest.fixture
def wrong_subgroups(tmp_path: Path) -> dict[str, str]:
    """As if a driver's shuffles gave another lane's value."""
    shuffle = "subgroupShuffleXor(total${M}, stride)"
    return template(tmp_path / "subgroups", "gemv_sums", shuffle, f"2.0 * {shuffle}") | {
        "ETWEBGPU_KERNELS": "discrete"
    }


@pytest.mark.parametrize("kernels", ["discrete", "software", "integrated"])
def test_good_kernels_stay(kernels: str, run: Callable[..., dict[str, Any]]) -> None:
    without = run(ETWEBGPU_KERNELS=kernels)
    tested = run(ETWEBGPU_KERNELS=kernels, ETWEBGPU_SELF_TEST="1")
    assert without["right"] and tested["right"]
    assert without["found"] is None
    assert tested["kernels"] == without["kernels"]
    assert tested["found"]["tried"] > 0
    assert tested["found"]["untried"] == 0 and tested["found"]["replaced"] == []


def test_a_wrong_kernel_is_replaced_and_named(
    run: Callable[..., dict[str, Any]], wrong_subgroups: dict[str, str]
) -> None:
    assert not run(**wrong_subgroups)["right"]
    tested = run(**wrong_subgroups, ETWEBGPU_SELF_TEST="1")
    assert tested["right"]
    (replaced,) = tested["found"]["replaced"]
    assert replaced["kernel"].startswith("gemv[")
    assert replaced["without"] == ["subgroups"]
    assert "aten.linear.default" in replaced["why"] and "instead of" in replaced["why"]


def test_what_is_wrong_in_every_form_is_replaced_by_another_class_s(
    run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    sums = "sum${S} += element *"
    wrong = template(tmp_path / "class", "gemv_lanes", sums, f"{sums} 2.0 *")
    wrong["ETWEBGPU_KERNELS"] = "software"
    assert not run(**wrong)["right"]
    tested = run(**wrong, ETWEBGPU_SELF_TEST="1")
    assert tested["right"] and tested["kernels"] == ["gemv"]
    (replaced,) = tested["found"]["replaced"]
    assert replaced["without"] == ["subgroups", "adapter class"]


def test_one_that_does_not_compile_is_replaced(
    run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    shuffle = "subgroupShuffleXor(total${M}"
    broken = template(tmp_path / "broken", "gemv_sums", shuffle, "nonsense(1")
    tested = run(**broken, ETWEBGPU_KERNELS="discrete", ETWEBGPU_SELF_TEST="1")
    assert tested["right"]
    (replaced,) = tested["found"]["replaced"]
    assert replaced["without"] == ["subgroups"] and "nonsense" in replaced["why"]


def test_what_was_found_is_remembered(
    run: Callable[..., dict[str, Any]], wrong_subgroups: dict[str, str], kept: Path
) -> None:
    switches = wrong_subgroups | {"ETWEBGPU_SELF_TEST": "1"}
    first = run(**switches)
    written = kept.read_bytes()
    time = kept.stat().st_mtime_ns
    assert run(**switches) == first
    assert kept.read_bytes() == written and kept.stat().st_mtime_ns == time
    # What is kept is believed: so nothing is run again.
    document = json.loads(written)
    for kernel in document["adapters"][0]["kernels"]:
        kernel["outcome"] = "agrees"
    kept.write_text(json.dumps(document))
    assert not run(**switches)["right"]


def test_another_driver_is_tested_anew(run: Callable[..., dict[str, Any]], kept: Path) -> None:
    run(ETWEBGPU_SELF_TEST="1", ETWEBGPU_KERNELS="discrete")
    document = json.loads(kept.read_text())
    document["adapters"][0]["driver"] += " of yesterday"
    kept.write_text(json.dumps(document))
    assert run(ETWEBGPU_KERNELS="discrete")["found"] is None
    assert run(ETWEBGPU_SELF_TEST="1", ETWEBGPU_KERNELS="discrete")["found"]["tried"] > 0
    assert len(json.loads(kept.read_text())["adapters"]) == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "adapters": [{"kernels": [3]}, 1]}']
)
def test_a_broken_file_is_written_anew(
    text: str, run: Callable[..., dict[str, Any]], kept: Path
) -> None:
    kept.parent.mkdir(parents=True)
    kept.write_text(text)
    tested = run(ETWEBGPU_SELF_TEST="1", ETWEBGPU_KERNELS="discrete")
    assert tested["right"] and tested["found"]["tried"] > 0
    assert json.loads(kept.read_text())["version"] == 1


def test_results_that_cannot_be_kept_do_not_matter(
    run: Callable[..., dict[str, Any]], cache: Path, wrong_subgroups: dict[str, str]
) -> None:
    cache.write_text("no folder")
    tested = run(**wrong_subgroups, ETWEBGPU_SELF_TEST="1")
    assert tested["right"] and tested["found"] is None


def test_the_log_and_the_devices_name_it(
    tmp_path: Path, cache: Path, wrong_subgroups: dict[str, str]
) -> None:
    """Through the stock runtime, as a user meets it."""
    x = torch.randn(1, 64)
    pte = save(tmp_path, "linear", torch.nn.Linear(64, 96), (x,)).pte
    np.save(tmp_path / "x.npy", x.numpy())
    environment = os.environ | wrong_subgroups | {"XDG_CACHE_HOME": str(cache)}
    environment["ETWEBGPU_SELF_TEST"] = "1"
    log = command("run", pte, "-i", tmp_path / "x.npy", env=environment).stderr
    assert "the kernel gemv is wrong on" in log and "does without subgroups" in log
    listed = command("devices", env=environment).stdout
    assert "gemv" in listed and "subgroups" in listed
    found = json.loads(command("devices", "--json", env=environment).stdout)
    assert found["selected"]["self_test"]["replaced"]


def test_devices_says_how_many_kernels_agree() -> None:
    adapter = {
        "index": 0,
        "name": "a GPU",
        "self_test": {
            "tried": 12,
            "untried": 1,
            "replaced": [{"kernel": "gemv[WG=64](x)", "without": ["subgroups"], "why": "because"}],
        },
    }
    provider = {"name": "dawn", "adapters": [adapter]}
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(render.devices({"providers": [provider], "selected": adapter}))
    text = console.export_text()
    assert "11 of 13 kernels" in text
    assert "gemv" in text and "without subgroups" in text and "because" in text
