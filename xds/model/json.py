"""Metadata objects as compact JSON text, the form in which a store keeps them.

Lossless: ``decode(obj.kind, encode(obj)) == obj``. Empty values are left out, keys are two or three letters.
``decode`` runs once for every object of a query answer, so it makes one pass over one ``json.loads`` and
shares equal codes. A key that is not known is ignored: a store may have been written by a later version.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from xds.model.association import Association
from xds.model.author import Author
from xds.model.codes import Code
from xds.model.document_entry import DocumentEntry
from xds.model.folder import Folder
from xds.model.submission import RegistryObject
from xds.model.submission_set import SubmissionSet
from xds.model.text import LocalizedString
from xds.namespaces import STABLE

# JSON key -> attribute of plain text (or list of text), by kind
_ENTRY_TEXT = {
    "id": "entry_uuid", "st": "status", "lid": "logical_id", "mt": "mime_type",
    "hc": "home_community_id", "uid": "unique_id", "pid": "patient_id", "sp": "source_patient_id",
    "si": "source_patient_info", "ct": "creation_time", "s0": "service_start_time", "s1": "service_stop_time",
    "la": "language_code", "lg": "legal_authenticator", "h": "hash", "rep": "repository_unique_id",
    "ref": "reference_ids", "uri": "uri", "av": "document_availability", "x": "extra_slots",
}
_SET_TEXT = {
    "id": "entry_uuid", "st": "status", "hc": "home_community_id", "uid": "unique_id", "pid": "patient_id",
    "src": "source_id", "tm": "submission_time", "ir": "intended_recipients", "x": "extra_slots",
}
_FOLDER_TEXT = {
    "id": "entry_uuid", "st": "status", "lid": "logical_id", "hc": "home_community_id", "uid": "unique_id",
    "pid": "patient_id", "tm": "last_update_time", "x": "extra_slots",
}
_ASSOCIATION_TEXT = {
    "id": "entry_uuid", "t": "type", "a": "source", "b": "target", "st": "status", "hc": "home_community_id",
    "x": "slots",
}
_KEYS = {
    name: key for table in (_ENTRY_TEXT, _SET_TEXT, _FOLDER_TEXT, _ASSOCIATION_TEXT) for key, name in table.items()
} | {"version": "v", "object_type": "ot", "size": "sz"}
_AUTHOR_SLOTS = (("p", "person"), ("i", "institutions"), ("r", "roles"), ("s", "specialties"),
                 ("t", "telecommunications"))

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
_loads = json.JSONDecoder().decode


def encode(obj: RegistryObject, without: Iterable[str] = ()) -> str:
    """One line of JSON. The kind is not in the text: the store knows which table the row is in.

    ``without`` names attributes of plain value that are left out, as if they were empty.
    """
    values = _ENCODERS[obj.kind](obj)
    for name in without:
        values.pop(_KEYS[name], None)
    return _dumps(values)


def decode(kind: str, text: str) -> Any:
    """The object that ``encode`` was given. ``kind`` is DocumentEntry, SubmissionSet, Folder or Association.

    Raises KeyError for another kind and ValueError for text that is not JSON.
    """
    return _DECODERS[kind](_loads(text))


def _plain(obj: RegistryObject, keys: dict[str, str]) -> dict[str, Any]:
    return {key: value for key, name in keys.items() if (value := getattr(obj, name))}


def _put(values: dict[str, Any], **more: Any) -> dict[str, Any]:
    values.update({key: value for key, value in more.items() if value})
    return values


def _from_code(code: Code | None) -> list[str] | None:
    return None if code is None else [code.code, code.scheme, code.display]


def _from_codes(codes: list[Code]) -> list[list[str]]:
    return [[c.code, c.scheme, c.display] for c in codes]


def _from_text(texts: list[LocalizedString]) -> list[list[str]]:
    """``[value]`` when language and charset are the defaults of the schema."""
    return [[t.value] if t == LocalizedString(t.value) else [t.value, t.lang, t.charset] for t in texts]


def _from_authors(authors: list[Author]) -> list[dict[str, list[str]]]:
    return [{key: value for key, name in _AUTHOR_SLOTS if (value := getattr(a, name))} for a in authors]


def _encode_entry(e: DocumentEntry) -> dict[str, Any]:
    values = _put(
        _plain(e, _ENTRY_TEXT), v=e.version, ti=_from_text(e.title), co=_from_text(e.comments),
        au=_from_authors(e.authors), cc=_from_code(e.class_code), tc=_from_code(e.type_code),
        fc=_from_code(e.format_code), ps=_from_code(e.practice_setting_code),
        hf=_from_code(e.healthcare_facility_type_code), cf=_from_codes(e.confidentiality_codes),
        ev=_from_codes(e.event_codes), lm=int(e.limited_metadata),
    )
    if e.object_type != STABLE:
        values["ot"] = e.object_type
    if e.size is not None:
        values["sz"] = e.size
    return values


def _encode_set(s: SubmissionSet) -> dict[str, Any]:
    return _put(
        _plain(s, _SET_TEXT), ti=_from_text(s.title), co=_from_text(s.comments), au=_from_authors(s.authors),
        cc=_from_code(s.content_type_code), lm=int(s.limited_metadata),
    )


def _encode_folder(f: Folder) -> dict[str, Any]:
    return _put(
        _plain(f, _FOLDER_TEXT), v=f.version, ti=_from_text(f.title), co=_from_text(f.comments),
        cl=_from_codes(f.codes), lm=int(f.limited_metadata),
    )


def _encode_association(a: Association) -> dict[str, Any]:
    return _put(_plain(a, _ASSOCIATION_TEXT), d=_from_code(a.documentation))


@lru_cache(maxsize=8192)
def _shared_code(code: str, scheme: str, display: str) -> Code:
    return Code(code, scheme, display)


def _code(value: list[str] | None) -> Code | None:
    return None if value is None else _shared_code(*value)


def _codes(values: list[list[str]] | None) -> list[Code]:
    return [_shared_code(*v) for v in values] if values else []


def _texts(values: list[list[str]] | None) -> list[LocalizedString]:
    return [LocalizedString(*v) for v in values] if values else []


def _authors(values: list[dict[str, list[str]]] | None) -> list[Author]:
    if not values:
        return []
    return [
        Author(person=v.get("p") or [], institutions=v.get("i") or [], roles=v.get("r") or [],
               specialties=v.get("s") or [], telecommunications=v.get("t") or [])
        for v in values
    ]


def _decode_entry(values: dict[str, Any]) -> DocumentEntry:
    get = values.get
    return DocumentEntry(
        entry_uuid=get("id", ""), object_type=get("ot", STABLE), status=get("st", ""), logical_id=get("lid", ""),
        version=get("v", 0), mime_type=get("mt", ""), home_community_id=get("hc", ""), unique_id=get("uid", ""),
        patient_id=get("pid", ""), source_patient_id=get("sp", ""), source_patient_info=get("si") or [],
        title=_texts(get("ti")), comments=_texts(get("co")), authors=_authors(get("au")),
        class_code=_code(get("cc")), type_code=_code(get("tc")), format_code=_code(get("fc")),
        practice_setting_code=_code(get("ps")), healthcare_facility_type_code=_code(get("hf")),
        confidentiality_codes=_codes(get("cf")), event_codes=_codes(get("ev")), creation_time=get("ct", ""),
        service_start_time=get("s0", ""), service_stop_time=get("s1", ""), language_code=get("la", ""),
        legal_authenticator=get("lg", ""), hash=get("h", ""), size=get("sz"), repository_unique_id=get("rep", ""),
        reference_ids=get("ref") or [], uri=get("uri") or [], document_availability=get("av", ""),
        limited_metadata=bool(get("lm")), extra_slots=get("x") or {},
    )


def _decode_set(values: dict[str, Any]) -> SubmissionSet:
    get = values.get
    return SubmissionSet(
        entry_uuid=get("id", ""), status=get("st", ""), home_community_id=get("hc", ""), unique_id=get("uid", ""),
        patient_id=get("pid", ""), source_id=get("src", ""), submission_time=get("tm", ""),
        content_type_code=_code(get("cc")), title=_texts(get("ti")), comments=_texts(get("co")),
        authors=_authors(get("au")), intended_recipients=get("ir") or [], limited_metadata=bool(get("lm")),
        extra_slots=get("x") or {},
    )


def _decode_folder(values: dict[str, Any]) -> Folder:
    get = values.get
    return Folder(
        entry_uuid=get("id", ""), status=get("st", ""), logical_id=get("lid", ""), version=get("v", 0),
        home_community_id=get("hc", ""), unique_id=get("uid", ""), patient_id=get("pid", ""),
        codes=_codes(get("cl")), title=_texts(get("ti")), comments=_texts(get("co")),
        last_update_time=get("tm", ""), limited_metadata=bool(get("lm")), extra_slots=get("x") or {},
    )


def _decode_association(values: dict[str, Any]) -> Association:
    get = values.get
    return Association(
        entry_uuid=get("id", ""), type=get("t", ""), source=get("a", ""), target=get("b", ""),
        status=get("st", ""), home_community_id=get("hc", ""), documentation=_code(get("d")), slots=get("x") or {},
    )


_ENCODERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "DocumentEntry": _encode_entry, "SubmissionSet": _encode_set, "Folder": _encode_folder,
    "Association": _encode_association,
}
_DECODERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "DocumentEntry": _decode_entry, "SubmissionSet": _decode_set, "Folder": _decode_folder,
    "Association": _decode_association,
}
