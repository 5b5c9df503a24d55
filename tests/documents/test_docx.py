import contextlib
import io
import re
import zipfile

import docx
import pytest
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls, qn

from markgraph.documents.types import Heading
from markgraph.errors import DocumentError


def save(document: docx.document.Document) -> bytes:
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def test_docx_is_read_in_order_with_headings_and_rows(read):
    word = docx.Document()
    word.add_heading("Contract", level=0)
    word.add_heading("Term", level=2)
    table = word.add_table(rows=2, cols=3)
    for cell, text in zip(table._cells, ["a", "b", "c", "1", "2", "3"], strict=True):
        cell.text = text
    table.cell(1, 0).merge(table.cell(1, 1))
    word.add_paragraph("After the table.")
    document = read("a.docx", save(word))
    assert document.text == "Contract\n\nTerm\na | b | c\n1 2 |  | 3\n\nAfter the table."
    assert document.headings == (Heading(0, 1, "Contract"), Heading(10, 2, "Term"))
    assert document.title == "Contract"


def test_docx_title_is_the_one_in_its_properties(read):
    word = docx.Document()
    word.core_properties.title = "Lease"
    word.add_paragraph("Article 1")
    document = read("a.docx", save(word))
    assert document.title == "Lease"
    assert document.headings == (Heading(0, 1, "Article 1"),)


def test_docx_keeps_tracked_insertions_and_drops_deletions_and_hidden_runs(read):
    word = docx.Document()
    paragraph = word.add_paragraph("Rent is ")
    for tag, text in [("w:ins", "ten"), ("w:del", "nine")]:
        change = docx.oxml.OxmlElement(tag)
        change.append(paragraph.add_run(text)._r)
        paragraph._p.append(change)
    paragraph.add_run("secret").font.hidden = True
    assert read("a.docx", save(word)).text == "Rent is ten"


def test_docx_opens_content_controls_and_text_boxes(read):
    word = docx.Document()
    for tags in [("w:sdt", "w:sdtContent"), ("w:p", "w:r", "w:pict", "w:txbxContent")]:
        inner = word.add_paragraph(tags[0])._p
        holder = word.element.body
        for tag in tags:
            outer = docx.oxml.OxmlElement(tag)
            holder.insert(0, outer)
            holder = outer
        holder.append(inner)
    assert sorted(read("a.docx", save(word)).text.split()) == ["w:p", "w:sdt"]


def test_docx_heading_style_on_a_whole_paragraph_makes_no_heading(read):
    word = docx.Document()
    word.add_heading("word " * 100)
    assert read("a.docx", save(word)).headings == ()


def without(data: bytes, left_out: str) -> bytes:
    """Return a zip file without one of its parts."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            if name != left_out:
                new.writestr(name, old.read(name))
    return out.getvalue()


def test_refuses_a_damaged_docx(read):
    whole = save(docx.Document())
    for damaged in [b"no zip", whole[:-200], without(whole, "word/document.xml"), b"\xd0\xcf\x11\xe0" * 200]:
        with pytest.raises(DocumentError, match=r"Cannot read docs/a\.docx as DOCX .* save it as DOCX"):
            read("a.docx", damaged)


def test_any_damage_to_a_docx_is_a_document_error_or_read_through(read):
    word = docx.Document()
    word.add_paragraph("Text.")
    whole = save(word)
    for place in range(0, len(whole), len(whole) // 60):
        with contextlib.suppress(DocumentError):
            read("a.docx", whole[:place] + b"\xff<9" + whole[place + 3 :])


def test_refuses_a_docx_that_unpacks_to_more_than_memory_holds(read):
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb,
        bomb.open("word/document.xml", "w", force_zip64=True) as part,
    ):
        for _ in range(1025):
            part.write(bytes(2**20))
    with pytest.raises(DocumentError, match="it unpacks to 1074790400 bytes"):
        read("a.docx", out.getvalue())


def with_notes(word: docx.document.Document) -> bytes:
    """Return a saved document in which `[f1]` and `[e1]` became references to notes of that id."""
    types = {"f": "footnote", "e": "endnote"}
    for paragraph in word.element.iter(qn("w:p")):
        for run in list(paragraph.iter(qn("w:r"))):
            if match := re.fullmatch(r"\[([fe])(\d+)\]", run.text):
                run.text = ""
                run.append(parse_xml(f'<w:{types[match[1]]}Reference {nsdecls("w")} w:id="{match[2]}"/>'))
    for kind in types.values():
        notes = "".join(
            f'<w:{kind} w:id="{id_}"><w:p><w:r><w:{kind}Ref/></w:r>'
            f"<w:r><w:t> The {kind} {id_}.</w:t></w:r></w:p></w:{kind}>"
            for id_ in (5, 6)
        )
        xml = f'<w:{kind}s {nsdecls("w")}><w:{kind} w:type="separator" w:id="-1"/>{notes}</w:{kind}s>'
        content = f"application/vnd.openxmlformats-officedocument.wordprocessingml.{kind}s+xml"
        part = Part(PackURI(f"/word/{kind}s.xml"), content, xml.encode(), word.part.package)
        word.part.relate_to(part, f"{RELATIONSHIPS}/{kind}s")
    return save(word)


RELATIONSHIPS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def test_docx_notes_follow_the_paragraph_that_refers_to_them(read):
    word = docx.Document()
    heading = word.add_heading("Rent", level=1)
    heading.add_run("[f6]")
    paragraph = word.add_paragraph("Due monthly.")
    for mark in ("[f5]", "[e5]"):
        paragraph.add_run(mark)
    word.add_paragraph("End.")
    document = read("a.docx", with_notes(word))
    assert document.text == (
        "Rent\nNote 1: The footnote 6.\n\nDue monthly. (note 2) (endnote i)\n"
        "Note 2: The footnote 5.\nEndnote i: The endnote 5.\n\nEnd."
    )
    assert [each.title for each in document.headings] == ["Rent"]


def test_docx_tables_keep_their_columns_where_cells_are_merged_or_rows_begin_late(read):
    word = docx.Document()
    table = word.add_table(rows=3, cols=3)
    for number, cell in enumerate(table._cells):
        cell.text = str(number)
    table.cell(0, 1).merge(table.cell(1, 1))
    table.cell(2, 1).merge(table.cell(2, 2))
    late = table.rows[1]._tr
    late.get_or_add_trPr().append(parse_xml(f'<w:gridBefore {nsdecls("w")} w:val="1"/>'))
    late.remove(late.tc_lst[0])
    for cell in word.add_table(rows=1, cols=2)._cells:
        cell.text = "another"
    assert read("a.docx", save(word)).text == "0 | 1 4 | 2\n |  | 5\n6 | 7 8 | \n\nanother | another"


def test_docx_table_within_a_cell_stands_in_its_line(read):
    word = docx.Document()
    table = word.add_table(rows=1, cols=2)
    table.cell(0, 0).text = "outer"
    inner = table.cell(0, 1).add_table(rows=2, cols=2)
    for cell, text in zip(inner._cells, "abcd", strict=True):
        cell.text = text
    assert read("a.docx", save(word)).text == "outer | a, b c, d"
