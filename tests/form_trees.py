"""Strategies for trees: whatever the filter form can contain on a schema, and its normal form.

`normalize_tree` is a second implementation: it works on the rows themselves, where the form
converts a tree into an expression and back.
"""

import pandas as pd
from hypothesis import strategies as st

from casesearch_pd.form.model.query import FormQuery
from casesearch_pd.form.model.tree import INVERSE, OPERATORS, Group, Rule, operators_for
from casesearch_pd.query.coercion import is_missing
from casesearch_pd.query.schema import Field, Option, Schema
from casesearch_pd.reading.frames.columns import OBJECT_TYPES
from tests.hostile_cases import TEXTS

HOSTILE = '<img src=x onerror=alert(1)>\n$x^2$ & "it\'s"'


def _custom(column, kind, label="", **named):
    return Field(column, f"{column}-id", label or column, kind, "custom", **named)


# Columns named like lookups, options, parameters and Python keywords; names that Python normalizes;
# equal labels; markup; every type.
FIELDS = (
    Field("case_id", "caseId", "Case Id", "text"),
    Field("created_at", "created_datetime", "Created", "datetime", aliases=("created",)),
    Field(
        "status",
        "status-id",
        "Status",
        "select",
        options=(
            Option("open", "Open"),
            Option("pending", "Open"),
            Option("closed", HOSTILE, active=False),
            Option("", "nothing"),
        ),
    ),
    _custom("amount", "number", "Amount"),
    _custom("amount__in", "integer", "Amount in"),
    _custom("amount__ne", "number", "Amount"),
    _custom("limit", "number"),
    _custom("limit__ne", "text"),
    _custom("class", "text"),
    _custom("source", "text"),
    _custom("__debug__", "text"),
    _custom("ﬁne", "text"),
    _custom("2nd line", "url", "2nd line?"),
    _custom('ha"rd\\', "text", HOSTILE),
    _custom("顧客_ランク", "select", options=(Option("金", "Gold"), Option("<b>", "<b>"))),
    _custom("team_a1b2c3d4", "user", "Team"),
    _custom("team_e5f6a7b8", "user", "Team"),
    _custom("vip", "boolean"),
    _custom("due", "datetime"),
    _custom("words", "list"),
    _custom("blob", "json"),
    _custom("anything", "any"),
    Field("hidden", "hidden", "Hidden", "text", visible=False),
)
KEYED = Schema((*FIELDS, Field("tags", "tags", "Tags", "tags")))
OPEN = Schema((*FIELDS, Field("tags", "tags", "Tags", "list")), open=True)
UNLISTED = ("fields.zürich", "fields.a__in", "fields.status", "fields.qq qq")  # open schemas only

LINES = [
    '""', '"quoted"', '"a\\nb"', '"', "a\r\nb", "\n", "\u202egpj", "now", "7 days ago",
    "in 3 hours", "2026-03", "5", "yes", "True", " pad ", "\\", "x" * 200, "<b>&amp;</b>", "None",
]  # fmt: skip
NUMBERS = [0, 1, -1, 2.5, 1.0, -0.0, 0.1, 1e300, 5e-324, 2**53 + 1, -(2**70), 10**400]
# In ascending order; times without a time zone are far from clock changes.
DURATIONS = [
    pd.Timedelta(days=-365), pd.Timedelta(days=-7), pd.Timedelta(-90, "min"),
    pd.Timedelta(-1, "ns"), pd.Timedelta(0), pd.Timedelta(3, "h"),
    pd.Timedelta("1 days 02:03:04.000005006"),
]  # fmt: skip
TIME_TEXTS = [
    "0007", "1893-01-01T00:00+00:53", "1970", "1969-12-31", "2025-12-31 23:59:59.999",
    "2026-01", "2026-03-14", "2026-03-14T09:30", "2026-03-14T12:00:00.000000001Z",
    "2026-03-14t22:00:00.0005+05:45", "2026-04", "9999-12-31",
]  # fmt: skip


def texts():
    """Draw a text that a case may have."""
    return st.sampled_from([*TEXTS, *LINES]) | st.text(max_size=8)


def values(kind, *, comparable=False):
    """Draw a value of a field's type; a comparable one is an absolute time that pandas supports."""
    match kind:
        case "number" | "integer":
            return st.sampled_from(NUMBERS) | st.integers() | _floats()
        case "boolean":
            return st.booleans()
        case "datetime":
            return st.sampled_from(TIME_TEXTS[1:-1] if comparable else [*TIME_TEXTS, *DURATIONS])
        case "any":
            return texts() | st.sampled_from(NUMBERS) | st.booleans()
        case _:
            return texts()


def _floats():
    return st.floats(allow_nan=False, allow_infinity=False)


def _pair(kind, comparable):
    if kind == "datetime":
        ends = st.sampled_from([TIME_TEXTS[1:-1]] if comparable else [DURATIONS, TIME_TEXTS])
        return ends.flatmap(lambda times: _two(st.sampled_from(times), key=times.index))
    if kind == "any":
        return _two(texts()) | _two(st.sampled_from(NUMBERS))
    return _two(values(kind, comparable=comparable))


def _two(values, key=None):
    return st.tuples(values, values).map(lambda two: tuple(sorted(two, key=key)))


def _value(field, operator, comparable):
    match operator.arity, field.type:
        case "none", _:
            return st.none()
        case "pair", kind:
            return _pair(kind, comparable)
        case "many", "select" if field.options:
            options = st.sampled_from([option.value for option in field.options])
            return _many(options | options | st.sampled_from(["unknown", "a\nb"]))
        case "many", kind:  # a line of a field of unknown type is text
            return _many(texts() if kind == "any" else values(kind, comparable=comparable))
        case _ if operator.key in {"contains", "not contains"}:
            return texts().filter(bool)
        case _, kind:
            return values(kind, comparable=comparable)


def _many(one):
    return st.lists(one, min_size=1, max_size=4).map(tuple)


def rules(schema, *, fields=None, comparable=False):
    """Draw one complete row."""
    named_fields = [(item.column, item) for item in fields or schema.fields]
    if schema.open and fields is None:
        named_fields += [(name, schema.resolve(name)) for name in UNLISTED if not schema.find(name)]
    return st.sampled_from(named_fields).flatmap(lambda pair: _rule(*pair, comparable))


def _rule(name, field, comparable):
    return st.sampled_from(operators_for(field)).flatmap(
        lambda operator: st.builds(
            Rule, st.just(name), st.just(operator.key), _value(field, operator, comparable)
        )
    )


def incomplete_rules(schema):
    """Draw one row that is still being edited."""
    name = st.sampled_from([item.column for item in schema.fields])
    half = texts().flatmap(lambda text: st.sampled_from([(text, None), (None, text)]))
    return st.one_of(
        st.just(Rule()),
        st.builds(Rule, st.just(""), st.sampled_from([*OPERATORS]), st.none() | texts()),
        st.builds(Rule, name, st.sampled_from(["eq", "in", "between", "contains"])),
        st.builds(Rule, name, st.sampled_from(["in", "not in"]), st.just(())),
        st.builds(Rule, name, st.just("between"), half),
        st.builds(Rule, name, st.just("between"), st.tuples(texts())),
    )


def groups(rule):
    """Draw a tree with empty groups, groups of one, duplicates, groups in groups of their kind."""
    return _group(
        st.recursive(rule, lambda inner: _group(inner) | inner.map(_negated), max_leaves=8)
    )


def _negated(member):
    return Group("or", negated=True, members=(member,))


def _group(inner):
    members = st.lists(inner, max_size=4).map(tuple)
    repeated = members.map(lambda items: (*items, *items[:1]))
    return st.builds(Group, st.sampled_from(["and", "or"]), st.booleans(), members | repeated)


def trees(schema, **options):
    """Draw a tree of complete rows."""
    return groups(rules(schema, **options))


def flat_trees(schema):
    """Draw rows of different fields without groups, which keywords can express."""
    rows = st.lists(rules(schema), min_size=1, max_size=4, unique_by=lambda rule: rule.field)
    return rows.map(lambda items: Group(members=tuple(items)))


def queries(source, tree):
    """Draw everything that a form can search a source for."""
    schema = source.schema
    visible = [item.column for item in schema.fields if item.visible]
    sorts = [
        item.column for item in schema.fields if item.visible and item.type not in OBJECT_TYPES
    ]
    signed = st.builds(
        lambda sign, name: sign + name, st.sampled_from(["", "-"]), st.sampled_from(sorts)
    )
    word = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1)
    has_keys = schema.resolve("tags").type == "tags"
    tag = st.builds("{}={}".format, word, word) if has_keys else word
    return st.builds(
        FormQuery,
        tree=tree,
        search=st.none() | st.sampled_from(["refund", HOSTILE]) if source.can_search else st.none(),
        tags=st.lists(tag, max_size=3).map(tuple),
        columns=st.none() | _names(st.sampled_from(visible), unique=True),
        sort=st.just(()) | _names(signed, max_size=2),
        limit=st.none() | st.integers(0, 2_000),
        tz=st.sampled_from(["UTC", "Europe/Berlin"]),
    )


def _names(one, **size):
    return st.lists(one, min_size=1, **({"max_size": 5} | size)).map(tuple)


# --- the normal form --------------------------------------------------------------------


def normalize_tree(tree, schema):
    """Return a tree without redundant parts, as its expression is converted back."""
    member = _normalize(tree, schema)
    if member is None:
        return Group()
    return member if isinstance(member, Group) else Group(members=(member,))


def _normalize(member, schema):
    if isinstance(member, Rule):
        return _row(member, schema)
    members = [item for inner in member.members if (item := _normalize(inner, schema)) is not None]
    flat_members = [item for inner in members for item in _flatten(inner, member.combinator)]
    distinct = [*_without_duplicates(flat_members)]
    if not distinct:
        return None
    group = Group(member.combinator, members=tuple(distinct))
    result = distinct[0] if len(distinct) == 1 else group
    return _inverted(result) if member.negated else result


def _flatten(member, combinator):
    is_group = isinstance(member, Group) and not member.negated
    return member.members if is_group and member.combinator == combinator else (member,)


def _without_duplicates(members):
    keys = set()
    for member in members:
        if _key(member) not in keys:
            keys.add(_key(member))
            yield member


def _key(member):
    """Return what two equal members share: True and 1 differ, 1 and 1.0 do not."""
    if isinstance(member, Group):
        return (member.combinator, member.negated, *map(_key, member.members))
    items = member.value if isinstance(member.value, tuple) else (member.value,)
    are_booleans = tuple(isinstance(item, bool) for item in items)
    return (member.field, member.operator, items, are_booleans)


def _inverted(member):
    match member:
        case Rule(field, operator, value) if operator in INVERSE:
            return Rule(field, INVERSE[operator], value)
        case Rule():
            return Group("and", negated=True, members=(member,))
        case Group(_, True, (Rule() as rule,)):
            return rule
        case Group(combinator, negated, members):
            return Group(combinator, not negated, members)


def _row(rule, schema):
    if not _is_complete(rule):
        return None
    if OPERATORS[rule.operator].arity != "many":
        return rule
    distinct = tuple({repr(item): item for item in rule.value}.values())
    if len(distinct) > 1 or schema.resolve(rule.field).type == "select":
        return Rule(rule.field, rule.operator, distinct)
    return Rule(rule.field, {"in": "eq", "not in": "ne"}[rule.operator], distinct[0])


def _is_complete(rule):
    if not rule.field or rule.operator not in OPERATORS:
        return False
    arity, is_tuple = OPERATORS[rule.operator].arity, isinstance(rule.value, tuple)
    if is_tuple != (arity in {"many", "pair"}) or (arity == "pair" and len(rule.value) != 2):
        return False
    items = rule.value if is_tuple else (rule.value,)
    return arity == "none" or (bool(items) and not any(map(is_missing, items)))
