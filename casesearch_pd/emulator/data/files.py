"""Files of generated Persona cases: values with a signed address, and their text in a frame.

Anyone who has such an address can open the document, for hours and without a key. Persona sends
it with each case, at any depth of a custom field, so a client must leave it out of all output.
"""

from collections.abc import Mapping
from typing import Any

from casesearch_pd.emulator.data.schema import make_id

# The columns of `file_fields`.
FILE_FIELDS = ("id_photo", "selfie", "government_id", "documents")
# Kinds whose value is one file, or an object with an id and addresses of photos.
FILE_KINDS = frozenset({"file", "selfie", "government_id"})


def attachment(case_id: str) -> dict[str, Any]:
    """Return the attachment of a case."""
    secret = make_id("file", case_id)[5:]
    return _file(secret, f"scan-{secret[:4]}.pdf", f"https://files.example.com/{secret[:8]}.pdf")


def file_fields(case_id: str) -> dict[str, Any]:
    """Return the values of the custom fields of a case that hold files, by column."""
    names = ("id_photo", "selfie", "government_id", "passport", "bill")
    files = {name: _photo(case_id, name) for name in names}
    return {
        "id_photo": files["id_photo"],
        # The newest description has an id and a type here, webhooks have addresses as well.
        "selfie": {
            "id": make_id("self", case_id),
            "type": "selfie/center-only",
            "center-photo-url": files["selfie"]["url"],
        },
        "government_id": {
            "id": make_id("doc", case_id),
            "type": "document/government-id",
            "front-photo": files["government_id"],
        },
        "documents": [
            {"kind": "passport", "pages": 2, "scan": files["passport"]},
            {"kind": "bill", "pages": None, "scan": files["bill"]},
        ],
    }


def is_file(value: Any) -> bool:
    """Return whether a value is a file, with its name and address."""
    return isinstance(value, Mapping) and {"filename", "url"} <= value.keys()


def without_addresses(value: Any, kind: str = "") -> Any:
    """Return a value with each file as text: its name and size, or the id of its object."""
    if is_file(value):
        return f"{value['filename']} ({value['byte_size']} bytes)"
    if kind in FILE_KINDS:
        files = [without_addresses(item) for item in value.values() if is_file(item)]
        return ", ".join(files) or value.get("id", "file")
    if isinstance(value, Mapping):
        return {name: without_addresses(item) for name, item in value.items()}
    return [without_addresses(item) for item in value] if isinstance(value, list) else value


def _photo(case_id: str, name: str) -> dict[str, Any]:
    secret = make_id("file", case_id, name)[5:]
    return _file(secret, f"{name}.jpg", f"https://files.example.com/{secret[:8]}.jpg")


def _file(secret: str, filename: str, address: str) -> dict[str, Any]:
    url = f"{address}?access_token={secret}"
    return {"filename": filename, "url": url, "byte_size": 1000 + len(secret) * 37}
