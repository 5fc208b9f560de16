"""The two tables of rights, typed from their published description; nothing here reads the shipped tables."""

LOINC = "2.16.840.1.113883.6.1"
A05 = "1.2.250.1.213.1.1.4.12"

COLUMNS = {
    "10": 0, "21": 1, "60": 2, "69": 2, "50": 3, "40": 4, "70": 5, "80": 5, "91": 5, "92": 5, "94": 5, "95": 5,
    "96": 5, "86": 6, "98": 6, "32": 6, "26": 7, "28": 7, "81": 7, "82": 7, "83": 7, "84": 7, "85": 7, "role": 8,
}
"""Profession -> position in a row of cells: physician, pharmacist, nurses, midwife, dentist, paramedics,
technicians, devices, role and social."""

TYPES = {
    "RRRRRRR--": """
        11488-4 11490-0 11502-2 11505-5 11506-3 15507-7 15508-5 28653-4 29274-8 34112-3 34749-2 34794-8 34874-8
        34875-5 47420-5 51969-4 59283-2 60568-3 67851-6 70004-7 75482-0 75492-9 77436-4 78513-9 78601-2 85208-7
        93024-8 96349-6 BIL_AUTO
        18748-4 52040-3 IMG-KOS
        55115-0 57828-6 57832-8 61357-0 75468-9 PRESC-AAT PRESC-BIO PRESC-INF
        74465-6 EXPPAT_2 EXPPAT_3
        101881-1 28617-9 34120-6 89233-1
    """,
    "RRRRRR---": """
        18761-7 34133-9 34842-5 56445-0 57055-6 57057-2 57075-4 78489-2 80820-4 83836-7 89235-6 60280-5 78341-5
        60593-1 DISP_AUT 80565-5 11369-6 87273-9 96874-3
    """,
    "RR-R-----": "75496-0 68599-0",
    "R--------": "83901-9 FEUILLE-DE-STYLE PIECE-IDENTITE",
    "R--R-----": "68817-6",
    "RRRR-R--R": "83981-1 88348-8",
    "RRR--R--R": "80788-3 EXPORT_DUI",
    "RRRRRRRR-": "60591-5 SYNTH 57833-6 DOCPAT01 DOCPAT02 DOCPAT03 DOCPAT04 DOCPAT05 DOCPAT06 DOCPAT07 DOCPAT08",
    "RRRRRRRRR": "74207-2",
    "RRRRRR--R": "18776-5 77604-7 80771-9 83869-8 PROT_ALD",
    "R--RR----": "89601-9 96173-0 CERT_DECL",
    "RRRRR----": "REMB",
    "RRRRRRR-R": "EXPPAT_1",
    "R-------R": """
        59284-0 86531-1 ATTEST-ASS-COMPL ATTEST-DROITS-AM ATTEST-HEBGT AUTORIS-SOINS DOCPAT09
        51851-4 56446-8 FICHE-CONTACTS
    """,
    "--------R": "ATTEST-RESID",
    "---------": "E1762",
}  # fmt: skip

OWN_PRESCRIPTION = {"PRESC-KINE": "70", "PRESC-PEDI": "80", "PRESC-ORTHOPHO": "91", "PRESC-ORTHOPTIE": "92"}
"""Of the paramedical professions, only the one that carries it out reads such a prescription."""


def key(code: str) -> str:
    """``code^^scheme`` of a document type."""
    scheme = "ASTM" if code == "E1762" else LOINC if code[0].isdigit() else A05
    return f"{code}^^{scheme}"


def cells() -> dict[tuple[str, str], str]:
    """(type, profession) -> R or -."""
    table = {
        (key(code), profession): row[position]
        for row, codes in TYPES.items()
        for code in codes.split()
        for profession, position in COLUMNS.items()
    }
    for code, own in OWN_PRESCRIPTION.items():
        for profession, position in COLUMNS.items():
            table[key(code), profession] = "RRRRR-R--"[position] if position != 5 else "R" if profession == own else "-"
    return table


RIGHT_COLUMNS = ("PS n", "PS r", "PS b", "MD n", "MD r", "MD b", "OP", "MT n", "MT b", "CPE n", "ST n", "ST r")
HOLDER_COLUMNS = ("PA", "RL", "SYS")
"""The patient, his legal representative, our own systems: R526 has no columns for them."""

PRINTED = {
    "TD0": ("Y Y Y Y Y Y Y Y Y Y Y Y", "="),
    "TD0.3-declare": ("Y - - Y - - - Y - Y1 - -", "="),
    "TD0.3-remove": ("Y - - Y - - - Y - - - -", "="),
    "TD0.3-stop-mt": ("- - - - - - - Y - - - -", "="),
    "TD0.4": ("Y Y Y Y Y Y Y Y Y Y2 Y3 -", "="),
    "TD0.5": ("- Y - - Y - - - - - - Y", "="),
    "TD0.9": ("Y Y Y Y Y Y Y Y Y Y - -", "="),
    "TD1.3a": ("Y Y Y Y Y Y Y Y Y Y Y Y", "="),
    "TD1.6": ("Y - - Y - - Y Y - - - -", "="),
    "TD2.1": ("Y Y Y Y Y Y Y Y Y - Y4 Y4", "-"),
    "TD2.2": ("- - - - - - - - - Y4 - -", "-"),
    "TD3.1": ("Y Y Y Y Y Y Y Y Y - - -", "="),
    "TD3.1-id": ("Y Y Y Y Y Y Y Y Y Y Y Y", "="),
    "TD3.2": ("Y Y Y Y Y Y - Y Y - - -", "="),
    "TD3.2-masked": ("own pat pat own pat pat - Y pat - - -", "="),
    "TD3.2-invisible": ("Y Y Y Y Y Y - Y Y - - -", "="),
    "TD3.2-invisible-rl": ("Y Y Y Y Y Y - Y Y - - -", "="),
    "TD3.2-status": ("Y Y Y Y Y Y - Y Y - - -", "="),
    "TD3.3a-mask": ("Y - - Y - - Y Y - - - -", "="),
    "TD3.3a-unmask": ("own - - own - - own Y - - - -", "="),
    "TD3.3b": ("Y - - Y - - Y Y - - - -", "="),
    "TD3.3b-show": ("Y - - Y - - Y Y - - - -", "="),
    "TD3.3d": ("own - - own Y Y own Y Y - - -", "="),
    "TD3.3c": ("own own own own own own own own own str str str", "="),
}
"""R526 as printed, notes 1 to 4 beside their cells; the row on invisible documents stands twice, once for each code.
The second value says whether R606 gives the same."""

NOTES = {"Y1": "str", "Y2": "str", "Y3": "new", "Y4": "Y"}
"""1: the authorisation goes to the structure. 2: professionals of the same structure. 3: new authorisations.
4: imputed to the structure, in
the log: whoever the document names as author."""

UNPRINTED = {
    "TD0.3-become-mt": "- - - Y - - - Y - - - -",
    "TD1.1": "Y - - Y - - - Y - Y Y -",
    "TD1.2": "Y - - Y - - - Y - Y Y -",
    "TD1.3b": "Y - - Y - - - Y - Y - -",
    "TD1.4": "Y - - Y - - - Y - - - -",
    "TD1.5": "- - - - - - - - - - - -",
    "TD3.3b-hide": "own - - own - - own own - - - -",
    "authorise": "- - - - - - - - - - - -",
    "block": "- - - - - - - Y - - - -",
    "unblock": "- - - - - - - - - - - -",
    "object": "Y - - Y - - - Y - Y - -",
    "log": "own - - own - - own Y - - - -",
    "notices": "Y - - Y - - - Y - - - -",
    "destruction": "Y - - Y - - - Y - - - -",
    "destroy": "- - - - - - - - - - - -",
    "ITI-57-other": "- - - - - - - - - - - -",
    "remove": "- - - - - - - - - - - -",
}
"""What R526 does not print, from the rows L1 to L10, A4 to A11 and the page on traces."""

HOLDERS = {
    "Y Y -": """
        TD0 TD1.1 TD1.2 TD1.3a TD1.3b TD1.4 TD1.5 TD1.6 TD3.1 TD3.1-id TD3.2 TD3.2-masked TD3.2-status TD3.3a-mask
        TD3.3a-unmask authorise block unblock object log notices destruction
    """,
    "Y - -": "TD3.2-invisible-rl TD3.3b-show TD3.3b-hide",
    "Y - Y": "destroy",
    "own own -": "TD2.1 TD3.3d TD3.3c",
    "- - Y": "remove",
    "- - -": """
        TD0.3-declare TD0.3-remove TD0.3-become-mt TD0.3-stop-mt TD0.4 TD0.5 TD0.9 TD2.2 TD3.2-invisible TD3.3b
        ITI-57-other
    """,
}
"""The patient reads everything but what is invisible to him, his representative also not what is kept from him."""

_holders = {right: row for row, rights in HOLDERS.items() for right in rights.split()}
RIGHTS = {
    right: (" ".join([*(NOTES.get(cell, cell) for cell in row.split()), _holders[right]]), air)
    for right, (row, air) in {**PRINTED, **{right: (row, "=") for right, row in UNPRINTED.items()}}.items()
}
ALL_COLUMNS = (*RIGHT_COLUMNS, *HOLDER_COLUMNS)
CELLS = {
    (right, column): cell
    for right, (row, _) in RIGHTS.items() for column, cell in zip(ALL_COLUMNS, row.split(), strict=True)
}
