"""The metadata of a signature document, and what it says it signs (R-170, R-171).

What the document itself holds only a repository can see; a registry judges what is registered of it.

Clause: DMP TD2.1 signature document; ITI TF-3 5.5.3, 5.5.4
"""

from __future__ import annotations

from xds import namespaces as ns
from xds.check.context import Context
from xds.model import DocumentEntry, Submission

LANGUAGE = "art"
"""The language of what is no text. Clause: ITI TF-3 5.5.3"""
MEDIA = "text/xml"


def check_signatures(submission: Submission, context: Context) -> None:
    """Every signature document of a submission, where the domain verifies signatures."""
    rules = context.domain.signatures
    if rules.deposit == "off":
        return
    for entry in submission.entries:
        if rules.is_signature(entry):
            _check_metadata(entry, context)
            _check_signs(entry, submission, context)


def _check_metadata(entry: DocumentEntry, context: Context) -> None:
    rules, subject = context.domain.signatures, f"DocumentEntry {entry.entry_uuid}"

    def expect(name: str, found: str, expected: str) -> None:
        context.add("R-170", subject, name, found=found, expected=expected)

    if entry.mime_type.lower() != MEDIA:
        expect("mimeType", entry.mime_type, f"{MEDIA} for a signature document")
    if entry.language_code != LANGUAGE:
        expect("languageCode", entry.language_code, f"{LANGUAGE} for a signature document")
    for name, code, wanted in (
        ("formatCode", entry.format_code, rules.format_code),
        ("classCode", entry.class_code, rules.class_code),
        ("typeCode", entry.type_code, rules.type_code),
    ):
        if wanted and code is not None and code.key != wanted:
            expect(name, code.key, f"{wanted} for a signature document")
    events = [code.key for code in entry.event_codes]
    if rules.purpose and rules.purpose not in events:
        expect("eventCodeList", ", ".join(events), f"the purpose of the signature, {rules.purpose}")
    keys = {code.key for code in entry.confidentiality_codes}
    if rules.confidentiality and keys != set(rules.confidentiality):
        expect("confidentialityCode", ", ".join(sorted(keys)), f"{', '.join(rules.confidentiality)}, all of them")
    if not any(author.person or author.institutions for author in entry.authors):
        expect("author", "", "the signer as author of a signature document")
    if not any(title.value.strip() for title in entry.title):
        expect("title", "", "the name of the purpose as title of a signature document")


def _check_signs(entry: DocumentEntry, submission: Submission, context: Context) -> None:
    """Of the documents of its own set it signs all or names none: half of them would say less than is signed.

    Clause: ITI TF-3 5.5.4 (optional for the signature of a set)
    """
    signed = {a.target for a in submission.associations if a.type == ns.SIGNS and a.source == entry.entry_uuid}
    others = {e.entry_uuid for e in submission.entries if not context.domain.signatures.is_signature(e)}
    if signed & others and not others <= signed:
        context.add("R-171", f"DocumentEntry {entry.entry_uuid}", "signs",
                    found=f"associations to {len(signed & others)} of {len(others)} documents",
                    expected=f"one to each, {', '.join(sorted(others - signed)[:5])} too")
