"""How many of the citations in real sentences of law are found, and how many of those found are right.

The sentences are quoted from the GDPR, the AI Act, DORA, NIS2, the CSRD, and titles 28 and 42 of the District
of Columbia's code, and labelled by hand: act if another one, then the place. Missed: sections
of federal rules without a section sign, `12 CFR 204.8`.
"""

import pytest

from markgraph.citations.find import references

SAMPLE = {
    "including the possibility of a judicial remedy pursuant to Article 78.": "art 78",
    "competent pursuant to Article 55 or 56; (b) the national": "art 55, art 56",
    "in accordance with the examination procedure referred to in Article 93(2).": "art 93/2",
    "within the meaning of Article 3(4) of Directive 2013/34/EU, other than those referred to in point (a)":
        "32013l0034:art 3/4, ./^1/a",
    "the conformity assessment procedure provided for in Article 43 of Regulation (EU) 2024/1689 shall apply":
        "32024r1689:art 43",
    "paragraph 4 of this Article using the templates referred to in Article 20": "./4, art 20",
    "‘service’ means a service as defined in point (b) of Article 1(1) of Directive (EU) 2015/1535":
        "32015l1535:art 1/1/b",
    "in Articles 12 to 14 and Article 34, as well as Article 5": "art 12, art 13, art 14, art 34, art 5",
    "unless point (a) or (g) of Article 9(2) applies and suitable measures": "art 9/2/a, art 9/2/g",
    "carried out in accordance with Article 16, Article 17(1) and Article 18 to each recipient":
        "art 16, art 17/1, art 18",
    "in accordance with Article 20, first paragraph, point (a), point (ii), submit": "art 20/a/ii",
    "referred to in Article 2(5), second subparagraph, Article 7(3), Article 8(1) and (2)":
        "art 2/5, art 7/3, art 8/1, art 8/2",
    "Article 4(1), point (36), of Directive 2014/65/EU, Article 3(1), point (7), of Directive 2013/36/EU":
        "32014l0065:art 4/1/36, 32013l0036:art 3/1/7",
    "high-risk AI systems referred to in Annex III, without prejudice to Article 50 of this Regulation":
        "annex iii, art 50",
    "adopt delegated acts in accordance with Article 97 in order to amend Annex XIII": "art 97, annex xiii",
    "by way of derogation from paragraphs 3, 4 and 5, whichever": "./3, ./4, ./5",
    "Regulations (EU) 2016/679 and (EU) 2018/1725 apply": "32016r0679:, 32018r1725:",
    "as provided in this article (section 28:2-716).": "sec 28:2-716",
    "(section 28:2-703 or section 28:2-711), even though he has notified": "sec 28:2-703, sec 28:2-711",
    "as otherwise provided in §§ 28:9-320 and 28:9-321 , if a person files": "sec 28:9-320, sec 28:9-321",
    "to which § 42-3502.05(a)(2) or (4) applies": "sec 42-3502.05/a/2, sec 42-3502.05/a/4",
    "§ 42-3502.10 , § 42-3502.11 , or § 42-3502.15": "sec 42-3502.10, sec 42-3502.11, sec 42-3502.15",
    "Subject to §§ 28:4A-211(e) , 28:4A-405(d) , and 28:4A-405(e) , if a beneficiary":
        "sec 28:4A-211/e, sec 28:4A-405/d, sec 28:4A-405/e",
    "approved October 22, 1986 (100 Stat. 2085; 26 U.S.C. § 1 et seq.).": "26 u.s.c.:sec 1",
    "Section 501(c)(3) of the Internal Revenue Code of 1954": "internal revenue code of 1954:sec 501/c/3",
    "if § 28-4604 or Chapter 18 of Title 2 requires it": "sec 28-4604, title 2/chapter 18",
    "subsection (a) or (b) of this section shall, subject to subsection (d),": "./a, ./b, ./d",
    "paragraph (1) of this subsection, at the time a security interest": "./^1/1",
    "the penalties provided in § 42-3131.10 .": "sec 42-3131.10",
    "as set forth in Regulation D (12 CFR 204.8(a)(2) and (3))": "12 cfr:sec 204.8/a/2, 12 cfr:sec 204.8/a/3",
    "the Rent Administrator, under § 2-1831.03(b-1) , shall submit": "sec 2-1831.03/b-1",
}  # fmt: skip


def found(text: str) -> set[str]:
    """Return the references of `text` as the labels are written."""
    return {
        f"{reference.act}:"[: -1 if not reference.act else None]
        + "/".join(step or "." for step in reference.place)
        for reference in references(text)
    }


@pytest.fixture(scope="module")
def counts() -> tuple[int, int, int]:
    """Return how many are right, missed, and wrong."""
    right = missed = wrong = 0
    for text, labels in SAMPLE.items():
        labelled, here = set(labels.split(", ")), found(text)
        right += len(labelled & here)
        missed += len(labelled - here)
        wrong += len(here - labelled)
        if labelled != here:
            print(text, "\n  missed", labelled - here, "wrong", here - labelled)
    return right, missed, wrong


def test_recall_and_precision(counts: tuple[int, int, int]) -> None:
    right, missed, wrong = counts
    assert right + missed == 61
    assert right / (right + missed) >= 0.96
    assert right / (right + wrong) >= 0.98
