"""The generated service's schema: system fields of both services, custom fields of every type.

Labels are such as clients meet and trip over: spaces, punctuation, other scripts, a leading digit,
the name of a system field, select values that differ from their labels.
"""

from casesearch_pd.local.schema import Column, Option, Schema, Template, custom_field_id, made_id

SUPPORT = made_id("ctmpl", "support")
REVIEW = made_id("ctmpl", "review")
RETIRED = made_id("ctmpl", "retired")
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
)
SCHEMA = Schema(_BOTH + _CONNECT + _CUSTOM + _PERSONA, TEMPLATES, RESOLUTIONS, generated=True)
