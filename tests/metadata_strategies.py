"""Hypothesis strategies for metadata objects: valid in shape, wild in text."""

from __future__ import annotations

from hypothesis import strategies as st

from xds import namespaces as ns
from xds.model import Association, Author, Code, DocumentEntry, Folder, LocalizedString, Submission, SubmissionSet

XML_CHARACTERS = st.characters(
    codec="utf-8", exclude_categories=("Cs", "Cc"), include_characters="\t\n\r", exclude_characters="\ufffe\uffff"
)
free_text = st.text(XML_CHARACTERS, max_size=30)
trimmed = free_text.map(str.strip).filter(bool)
some_text = st.just("") | trimmed
uuids = st.uuids(version=4).map(lambda u: u.urn)
symbolic = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,20}", fullmatch=True)
ids = uuids | symbolic
references = st.just("") | uuids
texts = st.lists(trimmed, max_size=3)
languages = st.sampled_from(["fr-FR", "en-US", "de"])
localized = st.lists(st.builds(LocalizedString, free_text, languages), max_size=2)
codes = st.builds(Code, trimmed, trimmed, free_text)
code_lists = st.lists(codes, max_size=3)
authors = st.lists(
    st.builds(Author, person=texts, institutions=texts, roles=texts, specialties=texts, telecommunications=texts),
    max_size=2,
)
slot_names = st.from_regex(r"urn:x-test:[a-z0-9]{1,12}", fullmatch=True)
extra_slots = st.dictionaries(slot_names, st.lists(free_text, max_size=3), max_size=2)
statuses = st.sampled_from(["", ns.APPROVED, ns.DEPRECATED])
homes = st.sampled_from(["", "urn:oid:1.2.250.1.999"])
flags = st.booleans()

entries = st.builds(
    DocumentEntry, entry_uuid=ids, object_type=st.sampled_from([ns.STABLE, ns.ON_DEMAND]), status=statuses,
    logical_id=references, version=st.integers(0, 10**6), mime_type=some_text, home_community_id=homes,
    unique_id=some_text, patient_id=some_text, source_patient_id=some_text, source_patient_info=texts, title=localized,
    comments=localized, authors=authors, class_code=st.none() | codes, type_code=st.none() | codes,
    format_code=st.none() | codes, practice_setting_code=st.none() | codes,
    healthcare_facility_type_code=st.none() | codes, confidentiality_codes=code_lists, event_codes=code_lists,
    creation_time=some_text, service_start_time=some_text, service_stop_time=some_text, language_code=some_text,
    legal_authenticator=some_text, hash=some_text, size=st.none() | st.integers(0, 10**18 - 1),
    repository_unique_id=some_text, reference_ids=texts, uri=texts, document_availability=some_text,
    limited_metadata=flags, extra_slots=extra_slots,
)
submission_sets = st.builds(
    SubmissionSet, entry_uuid=ids, status=statuses, home_community_id=homes, unique_id=some_text,
    patient_id=some_text, source_id=some_text, submission_time=some_text, content_type_code=st.none() | codes,
    title=localized, comments=localized, authors=authors, intended_recipients=texts, limited_metadata=flags,
    extra_slots=extra_slots,
)
folders = st.builds(
    Folder, entry_uuid=ids, status=statuses, logical_id=references, version=st.integers(0, 10**6),
    home_community_id=homes, unique_id=some_text, patient_id=some_text, codes=code_lists, title=localized,
    comments=localized, last_update_time=some_text, limited_metadata=flags, extra_slots=extra_slots,
)
associations = st.builds(
    Association, entry_uuid=ids, type=st.sampled_from([ns.HAS_MEMBER, ns.RPLC, ns.APND, ns.SIGNS]), source=ids,
    target=ids, status=statuses, home_community_id=homes, documentation=st.none() | codes,
    slots=st.dictionaries(st.sampled_from(["SubmissionSetStatus", "PreviousVersion"]) | slot_names,
                          st.lists(free_text, max_size=2), max_size=3),
)
objects = entries | submission_sets | folders | associations
submissions = st.builds(
    Submission, submission_sets, st.lists(entries, max_size=2), st.lists(folders, max_size=2),
    st.lists(associations, max_size=3),
)
