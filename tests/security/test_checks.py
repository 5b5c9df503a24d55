"""The security checks: each finds what it is there for, and production does not start where one fails."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from markgraph.build import compose
from markgraph.commands.serve import run as serve
from markgraph.errors import UnsafeError, WeightsError
from markgraph.models.manifest import NAME, write_manifest
from markgraph.models.source import digest
from markgraph.models.weights import made_once
from markgraph.security.checks import Check, refuse_unsafe, security_checks
from tests.commands.conftest import Ran, markgraph
from tests.engines.tiny import tiny_llama
from tests.servers import redis_server

__all__ = ["markgraph"]

NO_WEIGHTS = ["model=fake", "embedder=hash"]


def checked(*overrides: str, **parts: object) -> dict[str, Check]:
    """Return the checks of a config by name; `parts` stand for groups that it may not have."""
    config = compose("serve", [*NO_WEIGHTS, *overrides])
    OmegaConf.set_struct(config, False)
    for name, part in parts.items():
        config[name] = part
    return {check.name: check for check in security_checks(config)}


def test_a_laptop_has_nothing_that_is_wrong_and_some_things_that_are_off() -> None:
    states = {name: check.state for name, check in checked().items()}
    assert "failed" not in states.values()
    assert states["auth"] == "off"
    assert states["checkpoint rows"] == states["models"] == states["data_dir"] == "ok"


def test_in_production_what_is_off_has_failed() -> None:
    plain, strict = checked(), checked("production=true")
    for name, check in plain.items():
        assert strict[name].state == ("failed" if check.state in ("off", "failed") else "ok"), name
        assert check.advice or check.state != "off"


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"),
        ("HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE", "*", "HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE"),
        ("LANGCHAIN_ENV", "local_dev", "LANGCHAIN_ENV"),
        ("LANGSMITH_TRACING", "true", "tracing"),
        ("LANGCHAIN_TRACING_V2", "1", "tracing"),
    ],
)
def test_finds_a_setting_that_opens_a_door(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, check: str
) -> None:
    assert checked()[check].state == "ok"
    monkeypatch.setenv(name, value)
    found = checked()[check]
    assert found.state == "failed"
    assert name in found.advice


def test_finds_models_that_may_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert checked()["HF_HUB_OFFLINE"].state == "off"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert checked()["HF_HUB_OFFLINE"].state == "ok"


@pytest.mark.parametrize(
    ("options", "before", "check", "state"),
    [
        ([], "import markgraph", "checkpoint rows", "ok"),
        ([], "import langgraph.checkpoint.serde.jsonplus", "checkpoint rows", "failed"),
        (["-O"], "", "python -O", "failed"),
        ([], "", "python -O", "ok"),
    ],
)
def test_finds_how_the_process_was_started(options: list[str], before: str, check: str, state: str) -> None:
    program = (
        f"{before}\nfrom markgraph.build import compose\n"
        "from markgraph.security.checks import security_checks\n"
        f"config = compose('serve', {NO_WEIGHTS})\n"
        f"print([each.state for each in security_checks(config) if each.name == {check!r}])"
    )
    environment = {key: value for key, value in os.environ.items() if key != "LANGGRAPH_STRICT_MSGPACK"}
    done = subprocess.run(
        [sys.executable, *options, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.stdout == f"['{state}']\n", done.stderr


def test_finds_a_package_that_fetches_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked()["kernels"].state == "ok"
    (tmp_path / "kernels.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert checked()["kernels"].state == "failed"


def test_finds_a_folder_that_others_may_enter(home: Path) -> None:
    home.mkdir(mode=0o755)
    assert checked()["data_dir"].state == "failed"
    home.chmod(0o700)
    assert checked()["data_dir"].state == "ok"


def test_reads_every_model_and_compares(tmp_path: Path) -> None:
    reference = tiny_llama(tmp_path / "model")
    model = ["model=local", f"model.engine.source={reference}"]
    found = checked(*model)["models"]
    assert (found.state, reference.removeprefix("file:") in found.what) == ("off", True)
    assert checked(*model, f"model.engine.sha256={'0' * 64}")["models"].state == "failed"
    write_manifest(tmp_path / "model")
    assert checked(*model)["models"].state == "ok"
    (tmp_path / "model/extra.json").write_text("{}")
    found = checked(*model)["models"]
    assert (found.state, "extra.json is not in it" in found.what) == ("failed", True)


def test_looks_at_what_was_made_from_a_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKGRAPH_CACHE", str(tmp_path / "cache"))
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF")
    pinned = ["model=local", f"model.engine.source=file:{gguf}", f"model.engine.sha256={digest(gguf)}"]
    assert checked(*pinned)["models"].state == "ok"
    made = made_once(gguf, "converted", lambda _, folder: (folder / "config.json").write_text("{}") and None)
    assert checked(*pinned)["models"].state == "ok"
    (made / "config.json").write_text("[]")
    assert checked(*pinned)["models"].state == "failed"
    with pytest.raises(WeightsError, match=r"config\.json differs"):
        made_once(gguf, "converted", lambda *_: None)
    (made / NAME).unlink()
    assert checked(*pinned)["models"].state == "off"


def test_looks_at_adapters_too(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"x")
    given = f"+model.engine.adapters={{one: 'file:{adapter}'}}"
    pinned = ["model=smollm2", given]
    assert checked(*pinned)["models"].state == "off"
    (adapter / "adapter_model.bin").write_bytes(b"x")
    assert checked(*pinned)["models"].state == "failed"


def test_finds_a_chroma_server_of_another_machine() -> None:
    assert checked("index=chroma_server")["chroma"].state == "ok"
    assert checked("index=chroma_server", "index.index.allow_remote=true")["chroma"].state == "failed"


def test_a_package_that_fetches_code_has_failed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text("")
    assert checked()["kernels"].state == "ok"
    monkeypatch.syspath_prepend(str(tmp_path))
    assert checked()["kernels"].state == "failed"


@pytest.mark.parametrize("part", ["auth", "limits", "seal", "audit"])
@pytest.mark.parametrize("target", [None, "markgraph.x.none", "markgraph.security.doors.LocalDoor"])
def test_a_part_that_is_not_there_is_off(part: str, target: str | None) -> None:
    found = checked(**{part: {"_target_": target} if target else None})[part]
    assert (found.state, found.what) == ("off", "is not configured")
    assert f"{part}=" in found.advice


def keyring(file: Path, keys: object, mode: int = 0o600) -> dict[str, str]:
    file.write_text(keys if isinstance(keys, str) else json.dumps(keys))
    file.chmod(mode)
    return {"_target_": "markgraph.security.sealing.keyring.Keyring", "file": str(file)}


KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.mark.parametrize(
    ("keys", "mode", "state"),
    [
        ({"m1": KEY}, 0o600, "ok"),
        ({"m1": KEY, "m2": KEY}, 0o400, "ok"),
        ({"m1": KEY}, 0o640, "failed"),
        ({"m1": KEY}, 0o604, "failed"),
        ({}, 0o600, "failed"),
        ({"m1": "c2hvcnQ="}, 0o600, "failed"),
        ({"m1": KEY, "m2": "c2hvcnQ="}, 0o600, "failed"),
        ({"m1": "no base64!"}, 0o600, "failed"),
        ({"m1": 7}, 0o600, "failed"),
        ([KEY], 0o600, "failed"),
        ("", 0o600, "failed"),
    ],
)
def test_looks_into_the_keyring(tmp_path: Path, keys: object, mode: int, state: str) -> None:
    assert checked(seal=keyring(tmp_path / "keys.json", keys, mode))["seal"].state == state


def test_a_keyring_that_is_gone_is_to_be_restored(tmp_path: Path) -> None:
    gone = {"_target_": "markgraph.x.Keyring", "file": str(tmp_path / "gone")}
    found = checked(seal=gone)["seal"]
    assert (found.state, "otherwise restore it" in found.said) == ("failed", True)


@pytest.mark.parametrize(
    ("overrides", "state", "said"),
    [
        (["auth=oidc"], "failed", "auth.issuer"),
        (["auth=oidc", "auth.issuer=https://id.example"], "ok", ""),
        (["auth=dev"], "ok", ""),
    ],
)
def test_a_door_that_cant_be_made_has_failed(overrides: list[str], state: str, said: str) -> None:
    found = checked(*overrides)["auth"]
    assert (found.state, said in found.said) == (state, True)


def test_finds_a_redis_that_does_not_answer() -> None:
    with redis_server() as server:
        # A busy machine may take its time.
        redis = ["limits=redis", f"limits.counters.url={server.url}", "limits.counters.patience=5"]
        assert checked(*redis)["limits"].state == "ok"
        server.stop()
        found = checked(*redis)["limits"]
        assert (found.state, "does not answer" in found.said) == ("failed", True)


def test_limits_that_let_nobody_in_have_failed() -> None:
    assert checked("limits=memory")["limits"].state == "ok"
    found = checked("limits=memory", "limits.requests=0")["limits"]
    assert (found.state, "limits.requests is 0" in found.said) == ("failed", True)


def test_an_audit_log_that_has_not_begun_is_all_right(tmp_path: Path) -> None:
    audit = {"_target_": "markgraph.audit.file.FileAudit", "folder": str(tmp_path), "keys": str(tmp_path)}
    assert checked(audit=audit)["audit"].state == "ok"


def test_production_does_not_start_where_a_check_fails() -> None:
    config = compose("serve", [*NO_WEIGHTS, "production=true"])
    with pytest.raises(UnsafeError, match=r"checks failed:(.|\n)*auth: is not configured\. Set auth="):
        refuse_unsafe(config)
    with pytest.raises(UnsafeError):
        serve(config)


def test_the_doctor_says_each_on_one_line_and_ends_with_1_where_one_failed(
    markgraph: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = markgraph("doctor", "--security", *NO_WEIGHTS)
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split("  ")[0] for line in lines] == list(checked())
    done = markgraph("doctor", "--security", "output=json", "production=true", *NO_WEIGHTS)
    assert done.code == 1
    assert [check["name"] for check in json.loads(done.out)] == list(checked())
    monkeypatch.setenv("LANGCHAIN_ENV", "local")
    assert markgraph("doctor", "--security", *NO_WEIGHTS).code == 1


@pytest.mark.parametrize("name", ["audit", "limits"])
def test_finds_a_graph_that_keeps_to_other_parts_than_the_config(name: str) -> None:
    on = ["audit=file", "limits=memory"]
    assert checked(*on)["graph"].state == "ok"
    assert checked(*on, f"graph.{name}=null")["graph"].state == "failed"


def test_limits_that_limit_nothing_are_off() -> None:
    nothing = [
        f"limits.{name}=null" for name in ("requests", "tokens", "runs", "steps", "tool_calls", "wall_time")
    ]
    assert checked("limits=memory", *nothing)["limits"].state == "off"
