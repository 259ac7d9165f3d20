"""The schema of cases: columns, their names and types in both services, templates; the demo schema.

One column has up to three names: its own in frames (``queue``), its field id on Amazon Connect
Cases (``assigned_queue``), its key on Persona (``case_queue``; ``fields.KEY`` for a custom field).
"""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

TEXT_KINDS = frozenset({"text", "select", "url", "user", "email"})
NUMBER_KINDS = frozenset({"number", "integer"})
# Kinds stored as JSON text: lists of text, several options, maps, any JSON.
JSON_KINDS = frozenset({
    "list", "choices", "hash", "json", "file", "selfie", "government_id", "documents",
})  # fmt: skip

# The name in the store of a case's status as Persona shows it.
PERSONA_STATUS = "persona_status"

# Kind of a column → field type of Amazon Connect Cases, where lists and dates are text.
CONNECT_TYPES: Mapping[str, str] = {
    "text": "Text",
    "select": "SingleSelect",
    "url": "Url",
    "user": "User",
    "email": "Text",
    "list": "Text",
    "number": "Number",
    "integer": "Number",
    "boolean": "Boolean",
    "datetime": "DateTime",
    "date": "Text",
}

# Kind of a column → type of a field schema of a Persona case template.
PERSONA_TYPES: Mapping[str, str] = {
    "text": "string",
    "select": "choices",
    "url": "string",
    "user": "string",
    "email": "email-address",
    "list": "array",
    "choices": "multi-choices",
    "number": "number",
    "integer": "integer",
    "boolean": "boolean",
    "datetime": "datetime",
    "date": "date",
    "hash": "hash",
    "json": "json",
    "file": "file",
    "selfie": "selfie",
    "government_id": "government_id",
    # A list of hashes, each with a file.
    "documents": "array",
}

PERSONA_ATTRIBUTES = (
    "status", "name", "resolution", "created_at", "updated_at", "assigned_at", "resolved_at",
    "redacted_at", "sla_expires_at", "creator_id", "creator_type", "assignee_id", "assigner_id",
    "assigner_type", "resolver_id", "resolver_type", "updater_id", "updater_type", "tags",
)  # fmt: skip
# Members of a Persona case in the order of its responses.
PERSONA_RELATIONSHIPS = (
    "case_template", "case_queue", "case_comments", "accounts", "inquiries", "reports",
    "verifications", "txns",
)  # fmt: skip

_IDS = uuid.UUID("6f0b7a52-1d0e-5c2c-9d55-0f4f3f0c8a11")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a select: its stored value, and its label for people."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column of cases and its names in both services."""

    # Its name in frames and in `CaseService.insert`.
    name: str
    # text select url user email number integer boolean datetime date list choices hash json, and
    # those of files: file selfie government_id documents
    kind: str
    # Its name for people: the field's name on Connect, the field schema's label on Persona.
    label: str = ""
    # The field id on Connect, or "" where Connect does not have it.
    connect: str = ""
    custom: bool = False
    # The attribute on Persona in snake_case, fields.KEY or relationships.NAME; "" for none.
    persona: str = ""
    # The options of the kinds select and choices.
    options: tuple[Option, ...] = ()
    # The ids of the templates that have this custom field; empty means all.
    templates: tuple[str, ...] = ()
    # Whether Persona accepts it in predicates.
    searchable: bool = True
    multiline: bool = False

    @property
    def connect_type(self) -> str:
        """The FieldType on Connect."""
        return CONNECT_TYPES[self.kind]

    @property
    def persona_name(self) -> str:
        """The name in the store of what Persona shows: a status is in its own words."""
        return PERSONA_STATUS if self.persona == "status" else self.name

    @property
    def persona_key(self) -> str:
        """The key inside ``fields`` on Persona, or ""."""
        prefix, _, key = self.persona.partition(".")
        return key if prefix == "fields" else ""


@dataclass(frozen=True, slots=True)
class Template:
    """A case template; it has the same id in both services."""

    id: str
    name: str
    active: bool = True


@dataclass(frozen=True)
class Schema:
    """All columns, in the order of the store's rows, and the templates."""

    columns: tuple[Column, ...]
    templates: tuple[Template, ...]
    # The possible resolutions of a Persona case.
    resolutions: tuple[str, ...] = ()
    # Whether the cases were generated, so that related items can be generated too.
    generated: bool = False
    by_name: dict[str, Column] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {column.name: column for column in self.columns})

    @cached_property
    def by_connect(self) -> dict[str, Column]:
        """Columns by Connect's field id."""
        return {column.connect: column for column in self.columns if column.connect}

    @cached_property
    def by_persona(self) -> dict[str, Column]:
        """Columns by Persona's snake_case key, ``fields.KEY`` or ``relationships.NAME``."""
        return {column.persona: column for column in self.columns if column.persona}

    @cached_property
    def sql(self) -> dict[str, str]:
        """Names in the store by column name: SQLite's names ignore case, so they are numbers."""
        return {column.name: f"c{index}" for index, column in enumerate(self.columns)}

    def template(self, template_id: str) -> Template | None:
        """Return the template of that id, if there is one."""
        return next((t for t in self.templates if t.id == template_id), None)


def custom_field_id(name: str) -> str:
    """Return the UUID under which Connect knows a custom field of that name."""
    return str(uuid.uuid5(_IDS, name))


def make_id(prefix: str, *parts: object) -> str:
    """Return an id as Persona writes them, ``case_`` and 24 characters, derived from the parts."""
    # A hash, not a random number: the same case has the same id in every run.
    number = int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:18])
    digits = []
    for _ in range(24):
        number, digit = divmod(number, 58)
        digits.append(_BASE58[digit])
    return f"{prefix}_{''.join(digits)}"


@lru_cache(maxsize=100_000)
def make_user_id(address: str) -> str:
    """Return the hidden ``user_…`` id of a name or e-mail address.

    Persona's OpenAPI description: predicates take ``user_ABC123`` where responses show e-mails.
    """
    return make_id("user", "user", address)


SUPPORT = make_id("ctmpl", "support")
REVIEW = make_id("ctmpl", "review")
RETIRED = make_id("ctmpl", "retired")
TEMPLATES = (
    Template(SUPPORT, "Customer support"),
    Template(REVIEW, "Identity review"),
    Template(RETIRED, "Returns (2019)", active=False),
)
RESOLUTIONS = ("Approved", "Declined", "Solved", "Withdrawn")


def _options(**labels: str) -> tuple[Option, ...]:
    return tuple(Option(value, label) for value, label in labels.items())


STATUSES = _options(
    open="Open", in_progress="In progress", pending="Waiting for customer", closed="Closed"
)
REASONS = _options(
    billing="Billing", delivery="Delivery", technical="Technical fault", account="Account access",
    complaint="Complaint", identity="Identity check",
)  # fmt: skip
PRIORITIES = _options(low="Low", normal="Normal", high="High", urgent="Urgent (page someone)")
CHANNELS = _options(ch_01="Phone", ch_02="E-mail", ch_03="Chat", ch_04="Web form", ch_05="Social")
LANGUAGES = _options(en="English", de="Deutsch", ja="日本語", ar="العربية", pt="Português")
RISKS = _options(
    pep="Politically exposed",
    sanctions="Sanctions hit",
    mismatch="Name mismatch",
    velocity="Velocity",
)


def _system(
    name: str,
    kind: str,
    label: str,
    connect: str = "",
    persona: str = "",
    *,
    options: tuple[Option, ...] = (),
    multiline: bool = False,
) -> Column:
    return Column(name, kind, label, connect, False, persona, options, multiline=multiline)


def _custom(
    name: str,
    kind: str,
    label: str,
    *templates: str,
    key: str = "",
    options: tuple[Option, ...] = (),
    note: bool = False,
) -> Column:
    """Return a custom field of both services; notes are multi-line and not searchable."""
    field_id = custom_field_id(label)
    persona = f"fields.{key or name}"
    return Column(name, kind, label, field_id, True, persona, options, templates, not note, note)


def _persona_only(name: str, kind: str, label: str, options: tuple[Option, ...] = ()) -> Column:
    return Column(name, kind, label, "", False, f"fields.{name}", options, (REVIEW,))


# Columns that both services have as system fields.
_BOTH = (
    _system("case_id", "text", "Case Id", "case_id", "id"),
    _system("reference", "text", "Reference number", "reference_number", "name"),
    _system("template_id", "text", "Template", "", "relationships.case_template"),
    _system("status", "select", "Status", "status", "status", options=STATUSES),
    _system("created_at", "datetime", "Created", "created_datetime", "created_at"),
    _system("updated_at", "datetime", "Last updated", "last_updated_datetime", "updated_at"),
    _system("sla_at", "datetime", "Next SLA breach", "next_sla_breach_datetime", "sla_expires_at"),
    _system("assignee", "text", "Assigned user", "assigned_user", "assignee_id"),
    _system("queue", "text", "Assigned queue", "assigned_queue", "relationships.case_queue"),
    _system("tags", "list", "Tags", "", "tags"),
)
# System fields of Connect; title and summary are custom fields on Persona.
_CONNECT = (
    _system("title", "text", "Title", "title", "fields.title"),
    _system("summary", "text", "Summary", "summary", "fields.summary", multiline=True),
    _system("case_reason", "select", "Case reason", "case_reason", options=REASONS),
    _system("customer_id", "text", "Customer", "customer_id"),
    _system("created_by", "user", "Created by", "created_by"),
    _system("last_updated_user", "user", "Last updated by", "last_updated_user"),
    _system("closed_at", "datetime", "Last closed", "last_closed_datetime"),
    _system("last_reopened_datetime", "datetime", "Last reopened", "last_reopened_datetime"),
)
# Custom fields of both. Some names are hard on clients: not ASCII, with punctuation, a digit first,
# a Python keyword, the label of a system field.
_CUSTOM = (
    _custom("priority", "select", "Priority", options=PRIORITIES),
    _custom("contact_channel", "select", "Contact channel", options=CHANNELS),
    _custom("língua", "select", "Língua", key="language", options=LANGUAGES),
    _custom("城市", "text", "城市", SUPPORT, key="city"),
    _custom("order_number", "text", "Order number", SUPPORT),
    _custom("product_plan", "text", "Product / plan", SUPPORT),
    _custom("refund_amount_eur", "number", "Refund amount (EUR)", SUPPORT),
    _custom("weight_kg", "number", "Weight [kg]", SUPPORT),
    _custom("csat_1_5", "integer", "CSAT (1-5)", SUPPORT),
    _custom("contacts", "integer", "Contacts"),
    _custom("vip_customer", "boolean", "VIP customer?"),
    _custom("field_2nd_line", "boolean", "2nd line"),
    _custom("callback_due", "datetime", "Callback due", SUPPORT),
    _custom("order_link", "url", "Order link", SUPPORT),
    _custom("account_owner", "user", "Account owner"),
    _custom("shipment_status", "text", "Status", SUPPORT, key="status"),
    _custom("risk_score", "number", "Risk score", REVIEW),
    _custom("class", "text", "Class", REVIEW),
    _custom("internal_notes", "text", "Internal notes", note=True),
)
# Columns that only Persona has.
_PERSONA = (
    _system("resolved_at", "datetime", "Resolved", persona="resolved_at"),
    _system("resolution", "text", "Resolution", persona="resolution"),
    _system("assigned_at", "datetime", "Assigned", persona="assigned_at"),
    _system("redacted_at", "datetime", "Redacted", persona="redacted_at"),
    _system("creator_id", "text", "Creator", persona="creator_id"),
    _system("creator_type", "text", "Creator type", persona="creator_type"),
    _system("assigner_id", "text", "Assigner", persona="assigner_id"),
    _system("assigner_type", "text", "Assigner type", persona="assigner_type"),
    _system("resolver_id", "text", "Resolver", persona="resolver_id"),
    _system("resolver_type", "text", "Resolver type", persona="resolver_type"),
    _system("updater_id", "text", "Updater", persona="updater_id"),
    _system("updater_type", "text", "Updater type", persona="updater_type"),
    _system("attachments", "json", "Attachments", persona="attachments"),
    _system("case_comments", "list", "Comments", persona="relationships.case_comments"),
    _system("accounts", "list", "Accounts", persona="relationships.accounts"),
    _system("inquiries", "list", "Inquiries", persona="relationships.inquiries"),
    _system("reports", "list", "Reports", persona="relationships.reports"),
    _system("verifications", "list", "Verifications", persona="relationships.verifications"),
    _system("txns", "list", "Transactions", persona="relationships.txns"),
    _persona_only("birthdate", "date", "Birthdate"),
    _persona_only("email", "email", "E-mail"),
    _persona_only("risk_tags", "choices", "Risk tags", options=RISKS),
    _persona_only("aliases", "list", "Also known as"),
    _persona_only("address", "hash", "Address"),
    _persona_only("raw_check", "json", "Check result"),
    _persona_only("id_photo", "file", "Photo of the ID"),
    _persona_only("selfie", "selfie", "Selfie"),
    _persona_only("government_id", "government_id", "Government ID"),
    _persona_only("documents", "documents", "Documents"),
)
SCHEMA = Schema(_BOTH + _CONNECT + _CUSTOM + _PERSONA, TEMPLATES, RESOLUTIONS, generated=True)
