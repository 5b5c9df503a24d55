"""Calls that run what somebody else wrote, and that ruff's list of banned names can't express.

Each was seen to run code, or to read what it should not, in the versions that `pyproject.toml` allows.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("markgraph", "nodes", "tools", "graphs", "training", "benchmarks", "examples")

METHODS = {
    "get_or_create_collection": "runs the embedding function that the collection names",
    "set_model": "has Chroma or qdrant embed by themselves",
}
"""Methods that nobody may call."""
ARGUMENTS = {
    "trust_remote_code": (False,),
    "weights_only": (True,),
    "allow_pickle": (False,),
    "pickle_fallback": (False,),
    "allow_dangerous_deserialization": (False,),
    "allow_dangerous_requests": (False,),
    "template_format": ("f-string",),
    "secrets_from_env": (False,),
    "query_texts": (),
    "query_images": (),
    "query_uris": (),
}
"""What an argument may be, wherever it is given; nothing, where it may not be given at all."""
NEEDED = {
    "from_pretrained": {"trust_remote_code", "local_files_only"},
    "get_collection": {"embedding_function"},
    "create_collection": {"embedding_function"},
    "Chroma": {"embedding_function"},
    "PersistentClient": {"settings"},
    "HttpClient": {"settings"},
    "JsonPlusSerializer": {"allowed_msgpack_modules"},
}
"""Arguments that a call must have, since their default is not safe."""


def findings(tree: ast.Module) -> Iterator[str]:
    """Yield what is wrong with the calls of a module."""
    bundles = dict(_bundles(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _findings_of(node, bundles)


def _bundles(tree: ast.Module) -> Iterator[tuple[str, dict[str, ast.expr]]]:
    """Yield the dictionaries of a module, which calls may take with `**NAME`."""
    for node in tree.body:
        value = getattr(node, "value", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(value, ast.Dict):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            keys = zip(value.keys, value.values, strict=True)
            yield (
                ast.unparse(target),
                {each.value: what for each, what in keys if isinstance(each, ast.Constant)},
            )


def _findings_of(call: ast.Call, bundles: dict[str, dict[str, ast.expr]]) -> Iterator[str]:
    name = ast.unparse(call.func).rpartition(".")[2]
    given: dict[str, ast.expr] = {}
    for keyword in call.keywords:
        given |= {keyword.arg: keyword.value} if keyword.arg else bundles.get(ast.unparse(keyword.value), {})
    if name in METHODS:
        yield f"{call.lineno}: {name} {METHODS[name]}"
    for argument, value in given.items():
        allowed = ARGUMENTS.get(argument, ...)
        if allowed is not ... and not (isinstance(value, ast.Constant) and value.value in allowed):
            yield f"{call.lineno}: {argument}={ast.unparse(value)}"
    for argument in sorted(NEEDED.get(name, set()) - given.keys()):
        yield f"{call.lineno}: {name} without {argument}"


def test_no_module_makes_a_call_that_runs_what_somebody_else_wrote() -> None:
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    found = {
        str(file.relative_to(ROOT)): wrong
        for file in files
        if (wrong := list(findings(ast.parse(file.read_text("utf-8")))))
    }
    assert found == {}
    assert len(files) > 200, "the walk found too little to mean anything"


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("m.from_pretrained(x)", 2),
        ("m.from_pretrained(x, local_files_only=True, trust_remote_code=True)", 1),
        ("m.from_pretrained(x, local_files_only=True, trust_remote_code=chosen)", 1),
        ("m.from_pretrained(x, local_files_only=True, trust_remote_code=False)", 0),
        ("A = {'local_files_only': True, 'trust_remote_code': False}\nm.from_pretrained(x, **A)", 0),
        ("A = {'local_files_only': True, 'trust_remote_code': True}\nm.from_pretrained(x, **A)", 1),
        ("m.from_pretrained(x, **unknown)", 2),
        ("collection.query(query_texts=['x'])", 1),
        ("collection.query(query_embeddings=[x])", 0),
        ("client.get_or_create_collection('x')", 1),
        ("client.get_collection('x')", 1),
        ("client.get_collection('x', embedding_function=None)", 0),
        ("client.create_collection('x')", 1),
        ("Chroma(client=client)", 1),
        ("Chroma(client=client, embedding_function=own)", 0),
        ("chromadb.PersistentClient(path=p)", 1),
        ("FAISS.load_local(p, e, allow_dangerous_deserialization=True)", 1),
        ("JsonPlusSerializer()", 1),
        ("JsonPlusSerializer(pickle_fallback=True, allowed_msgpack_modules=None)", 1),
        ("PromptTemplate.from_template(t, template_format='jinja2')", 1),
        ("load(x, secrets_from_env=True)", 1),
        ("np.load(p, allow_pickle=True)", 1),
    ],
)
def test_the_search_finds_them(code: str, wrong: int) -> None:
    assert len(list(findings(ast.parse(code)))) == wrong
