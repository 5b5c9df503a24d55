import json
from dataclasses import asdict

import pytest

from markgraph.documents.types import Heading
from markgraph.documents.xml import read_xml
from markgraph.documents.xml_mapping import XmlMapping
from markgraph.errors import ConfigError, DocumentError

SECTION = """<?xml version="1.0"?>
<section xmlns="https://example.org/law"><num>28-1</num><heading>Notice.</heading>
  <text>Notice is <em>given</em>, see <cite>§ 2</cite>:</text><!-- a note -->
  <para><num>(a)</num><text>in writing;</text></para>
  <para><num>(b)</num><para><num>(1)</num><text>by post, or</text>
    <para><num>(A)</num><text>by hand.</text></para></para></para>
  <text>It is final.</text>
  <annotations><annotation>History</annotation></annotations></section>"""
LAW = XmlMapping(
    number="num",
    title="heading",
    title_format="§ {number}. {title}",
    left_out=[".//annotations"],
    metadata={"number": "num", "cites": "//cite"},
)


def read(markup: str | bytes, mapping: XmlMapping | None = None):
    return read_xml(markup if isinstance(markup, bytes) else markup.encode(), "docs/a.xml", mapping)


def test_a_section_of_law_is_read_in_order_with_its_numbers():
    document = read(SECTION, LAW)
    assert document.text == (
        "§ 28-1. Notice.\n\nNotice is given, see § 2:\n(a) in writing;\n(b) (1) by post, or\n(A) by hand.\n\n"
        "It is final."
    )
    assert document.title == "§ 28-1. Notice."
    assert document.headings == (Heading(0, 1, "§ 28-1. Notice."),)
    assert document.metadata == {"number": "28-1", "cites": "§ 2"}


def test_a_mapping_goes_through_json():
    assert XmlMapping(**json.loads(json.dumps(asdict(LAW)))) == LAW


def test_without_a_mapping_elements_are_told_by_their_content():
    document = read(
        "<act><title>The Act</title><part><title>One</title><p>a <b>b</b> c</p><note>d<i>e</i></note>"
        "<rule><if>x</if><then>y</then></rule></part></act>"
    )
    assert document.text == "The Act\n\nOne\n\na b c\n\nde\n\nx\n\ny"
    assert [(each.level, each.title) for each in document.headings] == [(1, "The Act"), (2, "One")]
    assert document.title == "The Act"


def test_several_documents_in_a_file_begin_with_their_own_headings():
    mapping = XmlMapping(document="//article", number="@n", title="name", headings={"name": 3})
    document = read(
        "<law>left out<article n='1'><name>Scope</name><p>a</p><article n='x'><name>in</name></article>"
        "</article><article n='2'><p>b</p></article></law>",
        mapping,
    )
    assert document.text == "1 Scope\n\na\n\nin\n\n2\n\nb"
    assert [(each.level, each.title) for each in document.headings] == [(1, "1 Scope"), (3, "in"), (1, "2")]


def test_tables_are_rows_with_spans_of_html_and_of_cals():
    document = read(
        """<doc><p>Fees:</p><table><tr><th rowspan='2'>a</th><th colspan='2'>b</th></tr>
        <tr><td>c</td><td>d <i>e</i></td></tr></table>
        <table><tgroup><row><entry morerows='1'>1</entry><entry>2</entry></row><row><entry>3</entry></row>
        </tgroup></table><row>no row</row></doc>"""
    )
    assert document.text == "Fees:\na | b | \n | c | d e\n\n1 | 2\n | 3\n\nno row"


def test_a_number_with_nothing_behind_it_stays():
    document = read(
        "<s><para><num>(d)</num></para><para><num>(e)</num><text>x</text></para></s>", XmlMapping()
    )
    assert document.text == "(d)\n(e) x"


def test_names_and_paths_may_have_namespaces():
    mapping = XmlMapping(
        title="l:heading", left_out=["l:text/x:*"], numbers=["l:num"], namespaces={"l": "urn:l", "x": "urn:x"}
    )
    document = read(
        '<s xmlns="urn:l" xmlns:x="urn:x"><heading>T</heading><x:num>7</x:num><num>1</num>'
        "<text>a<x:b>b</x:b>c</text></s>",
        mapping,
    )
    assert document.text == "T\n\n7\n1 ac"


def test_entities_of_html_are_written_out_where_a_dtd_is_named_that_is_never_fetched():
    assert (
        read('<!DOCTYPE p SYSTEM "http://localhost:1/x.dtd"><p>a&nbsp;&eacute;<b/>&mdash;c</p>').text
        == "a é—c"
    )


BOMB = "<!DOCTYPE a [<!ENTITY x0 'lol'>" + "".join(
    f"<!ENTITY x{each + 1} '{f'&x{each};' * 10}'>" for each in range(9)
)


@pytest.mark.parametrize(
    "markup",
    [
        BOMB + "]><a>&x9;</a>",
        BOMB + "]><a b='&x9;'/>",
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        "<!DOCTYPE a [<!ENTITY % p SYSTEM 'file:///etc/passwd'> %p;]><a>x</a>",
        "<a>" * 5000 + "x" + "</a>" * 5000,
        "<a>x",
        "no xml",
        '<?xml version="1.0" encoding="nonsense"?><a>x</a>',
    ],
)
def test_refuses_entities_and_what_is_damaged(markup):
    with pytest.raises(DocumentError, match=r"Cannot read docs/a\.xml as XML"):
        read(markup)


def test_refuses_a_file_of_another_kind_than_the_mapping_is_for():
    with pytest.raises(DocumentError, match="its root is book, and //section finds no element in it"):
        read("<book/>", XmlMapping(document="//section"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"document": "//["}, r"'//\[' is no XPath"),
        ({"title": "l:heading"}, "Undefined namespace prefix. Its prefixes are those of namespaces: none"),
        ({"metadata": {"x": "foo()"}}, "Unregistered function"),
        ({"paragraphs": ["//p"]}, "'//p' is no name of an XML element. Expected NAME or PREFIX:NAME"),
    ],
)
def test_refuses_a_mapping_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        XmlMapping(**settings)
