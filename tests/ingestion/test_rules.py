"""Rules: who may read what, and that whatever is not opened stays closed."""

import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from markgraph.errors import ConfigError
from markgraph.ingestion.rules import Rule, Rules, path_within, rules_for_all, takes_away
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions, may_read

NOBODY = Permissions("acme")


def readers_of(rules: Rules, path: str, metadata: Mapping[str, str] | None = None) -> tuple[str, ...]:
    return rules.permissions(path, metadata or {}, "acme").readers


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("hr/**", "hr/pay.md", True),
        ("hr/**", "hr/2024/june/pay.md", True),
        ("hr/**", "hr/.hidden/pay.md", True),
        ("hr/**", "hr", False),
        ("hr/**", "hrx/pay.md", False),
        ("hr/**", "old/hr/pay.md", False),
        ("**/hr/**", "old/hr/pay.md", True),
        ("**/hr/**", "hr/pay.md", True),
        ("*.md", "a.md", True),
        ("*.md", ".a.md", True),
        ("*.md", "hr/a.md", False),
        ("**/*.md", "a.md", True),
        ("**/*.md", "hr/x/a.md", True),
        ("**", "anything/at/all", True),
        ("**", "a.jsonl#a/../b", True),
        ("**", "..", True),
        ("hr/*", "hr/a/b.md", False),
        ("hr*/**", "hr-old/a.md", True),
        ("a?.md", "ab.md", True),
        ("a?.md", "a/.md", False),
        ("[ab].md", "b.md", True),
        ("[!ab].md", "b.md", False),
        ("HR/**", "hr/a.md", False),
        ("*.md", "a.md\n", False),
        ("{a,b}.md", "a.md", False),
        ("a+(b).md", "abb.md", False),
    ],
)
def test_a_pattern_matches_the_whole_path(pattern: str, path: str, matches: bool) -> None:
    rules = Rules(rules=(Rule(path=(pattern,), readers=("public",)),))
    assert readers_of(rules, path) == (("public",) if matches else ())


NAMES = st.text(st.sampled_from("ab.* ["), min_size=1, max_size=3).filter(
    lambda name: name not in (".", "..")
)
PATTERNS = st.lists(
    st.one_of(st.sampled_from(["**", "*", "a*", "?", "*.b"]), st.text(st.sampled_from("ab"), min_size=1)),
    min_size=1,
    max_size=4,
)


def matched(pattern: list[str], path: list[str]) -> bool:
    """Match folder by folder, the slow and plain way."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        if len(pattern) == 1:
            return bool(path)
        return any(matched(pattern[1:], path[at:]) for at in range(len(path) + 1))
    if not path:
        return False
    name = re.escape(pattern[0]).replace(r"\*", ".*").replace(r"\?", ".")
    return bool(re.fullmatch(name, path[0], re.DOTALL)) and matched(pattern[1:], path[1:])


@given(PATTERNS, st.lists(NAMES, min_size=1, max_size=4))
def test_patterns_mean_what_a_plain_matcher_says(pattern: list[str], path: list[str]) -> None:
    rules = Rules(rules=(Rule(path=("/".join(pattern),), readers=("public",)),))
    assert readers_of(rules, "/".join(path)) == (("public",) if matched(pattern, path) else ())


def test_a_name_matches_however_it_is_spelt_in_unicode() -> None:
    composed, decomposed = "r\u00e9sum\u00e9/**", "re\u0301sume\u0301/a.md"
    assert readers_of(Rules(rules=(Rule(path=(composed,), readers=("public",)),)), decomposed) == ("public",)


@pytest.mark.parametrize("pattern", ["", "/hr/**", "hr/", "a//b", "../x", "./x", "a/../b", "a\\b", "/"])
def test_a_pattern_that_could_not_match_is_an_error(pattern: str) -> None:
    with pytest.raises(ValidationError, match="no pattern of a path"):
        Rule(path=(pattern,), readers=("public",))


@pytest.mark.parametrize(
    ("metadata", "readers"),
    [
        ({"kind": "memo", "team": "tax"}, ("g:tax",)),
        ({"kind": "note", "team": "tax"}, ("g:tax",)),
        ({"kind": "memo", "team": "legal"}, ("g:rest",)),
        ({"kind": "letter", "team": "tax"}, ("g:rest",)),
        ({"team": "tax"}, ("g:rest",)),
        ({}, ("g:rest",)),
        ({"kind": "Memo", "team": "tax"}, ("g:rest",)),
        ({"kind": "letter, memo", "team": "law, tax, more"}, ("g:tax",)),
        ({"kind": "memo", "team": "law,tax"}, ("g:rest",)),
    ],
)
def test_a_rule_asks_for_one_value_of_each_field(metadata: dict[str, str], readers: tuple[str, ...]) -> None:
    rules = Rules.model_validate(
        {
            "rules": [{"where": {"kind": ["memo", "note"], "team": "tax"}, "readers": ["g:tax"]}],
            "default": {"readers": ["g:rest"]},
        }
    )
    assert rules.ask_metadata
    assert readers_of(rules, "a.md", metadata) == readers


def test_path_and_metadata_must_both_match() -> None:
    rule = Rule(path=("hr/**",), where={"kind": ("memo",)}, readers=("public",))
    assert readers_of(Rules(rules=(rule,)), "hr/a.md", {"kind": "memo"}) == ("public",)
    assert readers_of(Rules(rules=(rule,)), "a.md", {"kind": "memo"}) == ()
    assert readers_of(Rules(rules=(rule,)), "hr/a.md") == ()


def test_the_first_rule_that_matches_decides_alone() -> None:
    rules = Rules.model_validate(
        {
            "rules": [
                {"path": "hr/press/**", "readers": ["public"]},
                {"path": "hr/**", "readers": ["u:ada", "g:hr"], "classification": "restricted"},
            ],
            "default": {"readers": ["g:staff"], "classification": "internal"},
        }
    )
    assert not rules.ask_metadata
    assert rules.permissions("hr/press/a.md", {}, "acme") == Permissions("acme", ("public",), 0)
    assert rules.permissions("hr/a.md", {}, "acme") == Permissions("acme", ("g:hr", "u:ada"), 3)
    assert rules.permissions("a.md", {}, "acme") == Permissions("acme", ("g:staff",), 1)


def test_what_no_rule_opens_is_nobodys() -> None:
    assert Rules().permissions("a.md", {}, "acme") == NOBODY
    rules = Rules(rules=(Rule(path=("hr/**",), readers=("public",)),))
    assert rules.permissions("a.md", {}, "acme") == NOBODY
    assert not may_read(Caller("anna", ("reader",), tenant="acme", clearance=3), NOBODY)


def test_a_rule_may_close_a_folder() -> None:
    rules = Rules.model_validate(
        {"rules": [{"path": "drafts/**", "readers": []}], "default": {"readers": ["public"]}}
    )
    assert readers_of(rules, "drafts/a.md") == ()
    assert readers_of(rules, "a.md") == ("public",)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"readers": ["public"]}, "needs path or where"),
        ({"path": "a", "readers": ["legal"]}, "g:GROUP"),
        ({"path": "a", "readers": "public"}, "tuple"),
        ({"path": "a"}, "readers"),
        ({"path": "a", "readers": ["public"], "classification": "secret"}, "Unknown classification"),
        ({"path": "a", "readers": ["public"], "tenant": "other"}, "tenant"),
        ({"path": "a", "readers": ["public"], "where": {"year": 2024}}, "year"),
    ],
)
def test_a_rule_that_says_too_little_or_too_much_is_an_error(rule: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Rules.model_validate({"rules": [rule]})


def test_a_rule_that_can_never_decide_is_an_error() -> None:
    everything, hr = {"path": "**", "readers": ["public"]}, {"path": "hr/**", "readers": ["g:hr"]}
    with pytest.raises(ValidationError, match="rule 1 matches every document"):
        Rules.model_validate({"rules": [everything, hr]})
    Rules.model_validate({"rules": [hr, everything]})


def test_one_grant_for_all() -> None:
    rules = rules_for_all(["g:legal"], "internal")
    assert rules.permissions("x", {}, "acme") == Permissions("acme", ("g:legal",), 1)
    with pytest.raises(ConfigError, match="Allowed: public, internal"):
        rules_for_all(["public"], "secret")
    with pytest.raises(ConfigError, match="g:GROUP"):
        rules_for_all([])


@pytest.mark.parametrize(
    ("corpus", "source", "path"),
    [
        ("/data/docs", "/data/docs/hr/a.md", "hr/a.md"),
        ("/data/docs/a.md", "/data/docs/a.md", "a.md"),
        ("/data/rows.jsonl", "/data/rows.jsonl#7", "rows.jsonl#7"),
        ("/data/docs", "/data/docs2/a.md", "/data/docs2/a.md"),
        ("eu_law", "http://data.europa.eu/x#art_1", "http://data.europa.eu/x#art_1"),
    ],
)
def test_rules_see_the_path_within_the_corpus(corpus: str, source: str, path: str) -> None:
    assert path_within(corpus, source) == path


ATOMS = st.lists(st.sampled_from(["public", "g:a", "g:b", "u:anna"]), max_size=3).map(tuple)
LEVELS = st.integers(0, 3)


@given(ATOMS, LEVELS, ATOMS, LEVELS, st.lists(st.sampled_from("ab")), LEVELS)
def test_a_change_that_takes_nothing_away_lets_everybody_read_on(
    old: tuple[str, ...],
    old_level: int,
    new: tuple[str, ...],
    new_level: int,
    groups: list[str],
    clearance: int,
) -> None:
    before, after = Permissions("default", old, old_level), Permissions("default", new, new_level)
    caller = Caller("anna", groups=groups, clearance=clearance)
    if may_read(caller, before) and not may_read(caller, after):
        assert takes_away(before, after)
    if before == after:
        assert not takes_away(before, after)
