"""What a teacher or a judge has learned: nobody trains with it who may not read it, and nobody gets it so."""

from pathlib import Path

import pytest

from markgraph.errors import DeniedError, StorageError
from markgraph.models.cards import Card, lineage
from markgraph.models.registry import Registry
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions
from markgraph.training.inherited import learned_before, texts_in, with_inherited
from markgraph.training.runs import Runs
from tests.engines.tiny import tiny_llama
from tests.training.runs import rows, settings, write_rows
from tests.training.test_graph import graph_of, planned, trained

TOM = Caller("tom", ("trainer",))
LAWYER = Caller("ada", ("trainer",), groups=("legal",))
SECRET = {"id": "e" * 64, "documents": ["contract.md"], "readers": ["g:legal"]}
LEGAL, PUBLIC = (Permissions("default", (name,)) for name in ("g:legal", "public"))


@pytest.fixture
def chosen(tmp_path: Path, home: Path) -> list[str]:
    """Return a distillation on public rows, from a teacher that learned what only lawyers may read."""
    student = tiny_llama(tmp_path / "student")
    teacher = tiny_llama(tmp_path / "teacher", initializer_range=0.7)
    learned = lineage([SECRET], "default")._asdict()
    card = Card(**learned, method="sft", run="r0", by="ada", tenant="default", config="c" * 64)
    Registry(home / "models").add("secret", Path(teacher.removeprefix("file:")), card)
    data = write_rows(tmp_path / "rows.jsonl", rows())
    return ["method=distill", *settings(student, data), "method.teacher_sha256=null"]


def test_nobody_is_taught_by_what_learned_from_documents_closed_to_them(
    chosen: list[str], home: Path
) -> None:
    graph = graph_of([*chosen, "method.teacher=registered:secret@1"])
    with pytest.raises(DeniedError, match=r"'tom' may not train with registered:secret@1"):
        planned(graph, caller=TOM)
    assert not (home / "training").exists()


def test_a_student_is_for_those_who_may_read_what_its_teacher_learned(chosen: list[str], home: Path) -> None:
    graph = graph_of([*chosen, "method.teacher=registered:secret@1", "name=student", "method.epochs=3"])
    report = trained(graph, caller=LAWYER)
    assert report["registered"]["name"] == "student", report["verdict"]
    card = Registry(home / "models").get("student", 1).card
    assert set(card.audience) == {PUBLIC, LEGAL}
    assert {"contract.md"} < set(card.documents)


def test_a_model_in_the_folder_of_a_run_is_as_closed_as_its_rows(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "training")
    judge = runs.of("judge") / "reward" / "model"
    judge.mkdir(parents=True)
    (judge.parent / "rows").mkdir()
    write_rows(judge.parent / "rows" / "train.jsonl", [SECRET])  # type: ignore[list-item]
    with pytest.raises(StorageError, match=r"run\.json"):
        learned_before({"method": {"reward": str(judge)}}, runs)
    (runs.of("judge") / "run.json").write_text('{"owner": "default:ada"}')
    for name in (str(judge), f"file:{judge}", f"{judge}/../model"):
        before = learned_before({"method": {"rewards": [{"reward": name}]}}, runs)
        together = with_inherited(lineage(rows(3), "default"), before)
        assert set(together.audience) == {PUBLIC, LEGAL}
        assert "contract.md" in together.documents
    for name in (str(tmp_path), str(runs.folder), "", "chat", "x" * 9999):
        assert learned_before({"method": {"reward": name}}, runs) == {}


def test_a_model_is_found_wherever_a_config_names_it() -> None:
    named = {
        "model": {"engine": {"source": "registered:law@2"}},
        "data": {"sources": [{"writer": "registered:tax@1"}, None, 3]},
    }
    assert list(texts_in(named)) == ["registered:law@2", "registered:tax@1"]
