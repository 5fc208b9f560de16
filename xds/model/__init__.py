"""The metadata model: plain values, no XML, no SQL.

Values are kept as they were submitted (HL7 strings raw, DTM precision unchanged), because
a query returns them unchanged; ``datatypes`` reads what is inside them.

Clause: ITI TF-3 4.1, 4.2
"""

from xds.model.association import Association
from xds.model.author import Author
from xds.model.codes import Code
from xds.model.document_entry import DocumentEntry
from xds.model.folder import Folder
from xds.model.submission import RegistryObject, Submission
from xds.model.submission_set import SubmissionSet
from xds.model.text import LocalizedString

__all__ = [
    "Association", "Author", "Code", "DocumentEntry", "Folder", "LocalizedString",
    "RegistryObject", "Submission", "SubmissionSet",
]
