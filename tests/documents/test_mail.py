from email.message import EmailMessage

import docx
import pytest

from markgraph.errors import DocumentError
from tests.documents.test_docx import save


@pytest.fixture
def mail() -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Änne Weiß <anne@example.org>"
    message["To"] = "ben@example.org, cem@example.org"
    message["Date"] = "Mon, 05 Jan 2026 10:00:00 +0000"
    message["Subject"] = "Lease – § 5"
    return message


HEAD = (
    "Lease – § 5\nFrom: Änne Weiß <anne@example.org>\nTo: ben@example.org, cem@example.org\n"
    "Date: Mon, 05 Jan 2026 10:00:00 +0000"
)


def test_headers_are_text_and_metadata_and_the_plain_body_goes_before_the_html(mail, read):
    mail.set_content("Dear Ben,\n\nrent is due.\n")
    mail.add_alternative("<p>Dear <b>Ben</b>, HTML</p>", subtype="html")
    document = read("a.eml", mail.as_bytes())
    assert document.text == f"{HEAD}\n\nDear Ben,\n\nrent is due."
    assert document.title == "Lease – § 5"
    assert document.metadata == {
        "from": "Änne Weiß <anne@example.org>",
        "to": "ben@example.org, cem@example.org",
        "date": "Mon, 05 Jan 2026 10:00:00 +0000",
        "subject": "Lease – § 5",
    }


@pytest.mark.parametrize("plain", ["", " \n"])
def test_html_is_read_where_the_plain_form_is_missing_or_empty(mail, read, plain):
    mail.set_content(plain)
    mail.add_alternative("<h1>Müll</h1><table><tr><td>a<td>b</table>", subtype="html", charset="iso-8859-1")
    document = read("a.eml", mail.as_bytes())
    assert document.text == f"{HEAD}\n\nMüll\na | b"
    assert [(each.level, each.title) for each in document.headings] == [(1, "Lease – § 5"), (2, "Müll")]


def test_attachments_are_sections_read_by_their_own_readers_and_others_are_named(mail, read):
    word = docx.Document()
    word.add_heading("Rent", 1)
    mail.set_content("See attached.")
    mail.add_attachment(save(word), maintype="application", subtype="octet-stream", filename="lease.DOCX")
    mail.add_attachment(b"a,b\n1,2", maintype="text", subtype="csv", filename="fees.csv")
    mail.add_attachment("typed", filename="notes")
    mail.add_attachment(b"\0", maintype="application", subtype="x-thing", filename="x.thing")
    mail.add_attachment(b"no docx", maintype="application", subtype="octet-stream", filename="b.docx")
    document = read("a.eml", mail.as_bytes())
    sections = [(each.level, each.title) for each in document.headings]
    assert sections == [
        (1, "Lease – § 5"),
        (2, "Attachment: lease.DOCX"),
        (3, "Rent"),
        (2, "Attachment: fees.csv"),
        (2, "Attachment: notes"),
        (2, "Attachment: x.thing"),
        (2, "Attachment: b.docx"),
    ]
    for each in document.headings:
        assert document.text[each.offset :].startswith(each.title)
    assert "Attachment: fees.csv\n\na | b\n1 | 2\n\nAttachment: notes\n\ntyped\n\n" in document.text
    assert "(not read: x.thing is of the type application/x-thing, which is not read.)" in document.text
    assert "(not read: Cannot read b.docx as DOCX" in document.text
    assert document.metadata["unread_attachments"] == "2"


def test_attached_messages_are_read_three_deep(mail, read):
    inner = EmailMessage()
    inner["Subject"] = "level 4"
    inner.set_content("too deep")
    for level in (3, 2, 1):
        outer = EmailMessage()
        outer["Subject"] = f"level {level}"
        outer.set_content(f"text of {level}")
        outer.add_attachment(inner)
        inner = outer
    mail.set_content("Forwarded.")
    mail.add_attachment(inner)
    mail.add_attachment(b"Subject: file\n\ntext of file", maintype="application", subtype="octet-stream",
                        filename="f.eml")  # fmt: skip
    document = read("a.eml", mail.as_bytes())
    assert "Attachment: level 1\n\nSubject: level 1\n\ntext of 1" in document.text
    assert "text of 3" in document.text
    assert "too deep" not in document.text
    assert "(not read: level 4 lies in 3 messages within each other." in document.text
    assert document.text.endswith("Attachment: f.eml\n\nSubject: file\n\ntext of file")


def test_pictures_within_a_text_are_passed_over_and_attached_ones_named(mail, read):
    mail.set_content("<p>Text</p>", subtype="html")
    mail.add_related(b"\x89PNG", maintype="image", subtype="x-odd", cid="<logo>", filename="logo.odd")
    mail.add_attachment(b"\x89PNG", maintype="image", subtype="x-odd", filename="photo.odd")
    text = read("a.eml", mail.as_bytes()).text
    assert "Attachment: photo.odd" in text
    assert "logo" not in text


def test_text_in_several_pieces_and_beside_attachments_is_all_read(read):
    raw = (
        b"From: a@x.org\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n\r\nfirst\r\n--B\r\n"
        b"Content-Type: text/plain; charset=nonsense\r\n\r\nsecond \xc3\xa9\r\n--B--\r\n"
    )
    assert read("a.eml", raw).text == "From: a@x.org\n\nfirst\n\nsecond é"


@pytest.mark.parametrize("above", [b"\xef\xbb\xbf", b"\r\n \n", b"\xef\xbb\xbf\n\n"])
def test_a_byte_order_mark_and_empty_lines_above_a_message_are_passed_over(read, mail, above):
    raw = above + b"From: a@x.org\r\nSubject: s\r\n\r\n\r\n  text"
    assert read("a.eml", raw).text == "s\nFrom: a@x.org\n\n  text"
    mail.set_content("See attached.")
    mail.add_attachment(raw, maintype="application", subtype="octet-stream", filename="b.eml")
    assert read("a.eml", mail.as_bytes()).text.endswith("b.eml\n\nFrom: a@x.org\nSubject: s\n\n  text")


def test_malformed_headers_are_read_as_they_are(read):
    document = read("a.eml", b"To: <<<\xff@@,,;\r\nDate: never\r\nSubject: =?x?q?\xe9?=\r\n\r\ntext")
    assert "Date: never" in document.text
    assert document.text.endswith("\n\ntext")


def test_a_long_list_of_recipients_is_cut_in_the_metadata_only(mail, read):
    del mail["To"]
    mail["To"] = ", ".join(f"somebody{number}@example.org" for number in range(100))
    mail.set_content("x")
    document = read("a.eml", mail.as_bytes())
    assert len(document.metadata["to"]) == 500
    assert "somebody99@example.org" in document.text


def test_refuses_what_is_no_message_and_one_with_too_many_attachments(mail, read):
    with pytest.raises(
        DocumentError, match=r"Cannot read docs/a\.eml as a message .* none of the headers From"
    ):
        read("a.eml", "Dear Ben, this is no message.")
    mail.set_content("x")
    for _ in range(101):
        mail.add_attachment("y", filename="y.txt")
    with pytest.raises(DocumentError, match="more than 100 attachments"):
        read("a.eml", mail.as_bytes())
