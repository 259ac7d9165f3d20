"""Trees to try: whatever the filter form can hold on a schema, and what remains when it is settled.

What is settled is written here a second time, on the rows themselves, where the form goes by way
of an expression.
"""

import pandas as pd
from hypothesis import strategies as st

from casesearch_pd.form.model.question import FormQuery
from casesearch_pd.form.model.tree import INVERSE, OPERATORS, Group, Rule, operators_for
from casesearch_pd.query.coercion import is_missing
from casesearch_pd.query.schema import Field, Option, Schema
from casesearch_pd.reading.frames.columns import OBJECT_TYPES
from tests.hostile_cases import TEXTS

HOSTILE = '<img src=x onerror=alert(1)>\n$x^2$ & "it\'s"'


def _custom(column, kind, label="", **named):
    return Field(column, f"{column}-id", label or column, kind, "custom", **named)


# Columns named like lookups, options, parameters and keywords; keys that Python spells in another
# way; labels alike; markup; every type.
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
    Field("hidden", "hidden", "Hidden", "text", shown=False),
)
KEYED = Schema((*FIELDS, Field("tags", "tags", "Tags", "tags")))
OPEN = Schema((*FIELDS, Field("tags", "tags", "Tags", "list")), open=True)
UNTOLD = ("fields.zürich", "fields.a__in", "fields.status", "fields.qq qq")  # open schemas only

LINES = [
    '""', '"quoted"', '"a\\nb"', '"', "a\r\nb", "\n", "\u202egpj", "now", "7 days ago",
    "in 3 hours", "2026-03", "5", "yes", "True", " pad ", "\\", "x" * 200, "<b>&amp;</b>", "None",
]  # fmt: skip
NUMBERS = [0, 1, -1, 2.5, 1.0, -0.0, 0.1, 1e300, 5e-324, 2**53 + 1, -(2**70), 10**400]
# Rising, and naive ones far enough from clock changes.
TIMES = [
    pd.Timedelta(days=-365), pd.Timedelta(days=-7), pd.Timedelta(-90, "min"),
    pd.Timedelta(-1, "ns"), pd.Timedelta(0), pd.Timedelta(3, "h"),
    pd.Timedelta("1 days 02:03:04.000005006"),
]  # fmt: skip
MOMENTS = [
    "0007", "1893-01-01T00:00+00:53", "1970", "1969-12-31", "2025-12-31 23:59:59.999",
    "2026-01", "2026-03-14", "2026-03-14T09:30", "2026-03-14T12:00:00.000000001Z",
    "2026-03-14t22:00:00.0005+05:45", "2026-04", "9999-12-31",
]  # fmt: skip


def plain_text():
    """Draw text that a case may hold."""
    return st.sampled_from([*TEXTS, *LINES]) | st.text(max_size=8)


def values(kind, *, here=False):
    """Draw a value of a field's type."""
    match kind:
        case "number" | "integer":
            return st.sampled_from(NUMBERS) | st.integers() | _floats()
        case "boolean":
            return st.booleans()
        case "datetime":
            return st.sampled_from(MOMENTS[1:-1] if here else [*MOMENTS, *TIMES])
        case "any":
            return plain_text() | st.sampled_from(NUMBERS) | st.booleans()
        case _:
            return plain_text()


def _floats():
    return st.floats(allow_nan=False, allow_infinity=False)


def _pair(kind, here):
    if kind == "datetime":
        ends = st.sampled_from([MOMENTS[1:-1]] if here else [TIMES, MOMENTS])
        return ends.flatmap(lambda held: _two(st.sampled_from(held), key=held.index))
    if kind == "any":
        return _two(plain_text()) | _two(st.sampled_from(NUMBERS))
    return _two(values(kind, here=here))


def _two(values, key=None):
    return st.tuples(values, values).map(lambda two: tuple(sorted(two, key=key)))


def _value(field, operator, here):
    match operator.takes, field.type:
        case "none", _:
            return st.none()
        case "pair", kind:
            return _pair(kind, here)
        case "many", "select" if field.options:
            offered = st.sampled_from([option.value for option in field.options])
            return _many(offered | offered | st.sampled_from(["unknown", "a\nb"]))
        case "many", kind:  # a line of a field of no known type is text
            return _many(plain_text() if kind == "any" else values(kind, here=here))
        case _ if operator.key in {"contains", "not contains"}:
            return plain_text().filter(bool)
        case _, kind:
            return values(kind, here=here)


def _many(one):
    return st.lists(one, min_size=1, max_size=4).map(tuple)


def rules(schema, *, fields=None, here=False):
    """Draw one finished row."""
    named = [(item.column, item) for item in fields or schema.fields]
    if schema.open and fields is None:
        named += [(name, schema.resolve(name)) for name in UNTOLD if not schema.find(name)]
    return st.sampled_from(named).flatmap(lambda pair: _rule(*pair, here))


def _rule(name, field, here):
    return st.sampled_from(operators_for(field)).flatmap(
        lambda operator: st.builds(
            Rule, st.just(name), st.just(operator.key), _value(field, operator, here)
        )
    )


def unfinished(schema):
    """Draw one row that somebody is still writing."""
    name = st.sampled_from([item.column for item in schema.fields])
    half = plain_text().flatmap(lambda text: st.sampled_from([(text, None), (None, text)]))
    return st.one_of(
        st.just(Rule()),
        st.builds(Rule, st.just(""), st.sampled_from([*OPERATORS]), st.none() | plain_text()),
        st.builds(Rule, name, st.sampled_from(["eq", "in", "between", "contains"])),
        st.builds(Rule, name, st.sampled_from(["in", "not in"]), st.just(())),
        st.builds(Rule, name, st.just("between"), half),
        st.builds(Rule, name, st.just("between"), st.tuples(plain_text())),
    )


def groups(rule):
    """Draw a tree: empty groups, groups of one, doubles, groups in groups of their own kind."""
    return _group(
        st.recursive(rule, lambda inner: _group(inner) | inner.map(_denied), max_leaves=8)
    )


def _denied(member):
    return Group("or", negated=True, members=(member,))


def _group(inner):
    members = st.lists(inner, max_size=4).map(tuple)
    doubled = members.map(lambda found: (*found, *found[:1]))
    return st.builds(Group, st.sampled_from(["and", "or"]), st.booleans(), members | doubled)


def trees(schema, **named):
    """Draw a tree of finished rows."""
    return groups(rules(schema, **named))


def flat(schema):
    """Draw rows side by side, of different fields: what keywords can say."""
    rows = st.lists(rules(schema), min_size=1, max_size=4, unique_by=lambda rule: rule.field)
    return rows.map(lambda found: Group(members=tuple(found)))


def questions(source, tree):
    """Draw everything that a form asks of a source."""
    schema = source.schema
    shown = [item.column for item in schema.fields if item.visible]
    sorts = [
        item.column for item in schema.fields if item.visible and item.type not in OBJECT_TYPES
    ]
    signed = st.builds(
        lambda sign, name: sign + name, st.sampled_from(["", "-"]), st.sampled_from(sorts)
    )
    word = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1)
    keyed = schema.resolve("tags").type == "tags"
    tag = st.builds("{}={}".format, word, word) if keyed else word
    return st.builds(
        FormQuery,
        tree=tree,
        search=st.none() | st.sampled_from(["refund", HOSTILE]) if source.can_search else st.none(),
        tags=st.lists(tag, max_size=3).map(tuple),
        columns=st.none() | _names(st.sampled_from(shown), unique=True),
        sort=st.just(()) | _names(signed, max_size=2),
        limit=st.none() | st.integers(0, 2_000),
        tz=st.sampled_from(["UTC", "Europe/Berlin"]),
    )


def _names(one, **size):
    return st.lists(one, min_size=1, **({"max_size": 5} | size)).map(tuple)


# --- settled ----------------------------------------------------------------------------


def settled(tree, schema):
    """Fold what says nothing: the shape in which a tree comes back from its expression."""
    found = _settled(tree, schema)
    if found is None:
        return Group()
    return found if isinstance(found, Group) else Group(members=(found,))


def _settled(member, schema):
    if isinstance(member, Rule):
        return _row(member, schema)
    inner = [found for item in member.members if (found := _settled(item, schema)) is not None]
    spread = [item for found in inner for item in _spread(found, member.combinator)]
    kept = [*_firsts(spread)]
    if not kept:
        return None
    alone = kept[0] if len(kept) == 1 else Group(member.combinator, members=tuple(kept))
    return _flipped(alone) if member.negated else alone


def _spread(found, combinator):
    same = isinstance(found, Group) and not found.negated and found.combinator == combinator
    return found.members if same else (found,)


def _firsts(members):
    seen = set()
    for member in members:
        if _key(member) not in seen:
            seen.add(_key(member))
            yield member


def _key(member):
    """Tell True from 1, which Python takes for equal, and 1 from 1.0 no more than it does."""
    if isinstance(member, Group):
        return (member.combinator, member.negated, *map(_key, member.members))
    held = member.value if isinstance(member.value, tuple) else (member.value,)
    truths = tuple(isinstance(item, bool) for item in held)
    return (member.field, member.operator, held, truths)


def _flipped(member):
    match member:
        case Rule(field, operator, value) if operator in INVERSE:
            return Rule(field, INVERSE[operator], value)
        case Rule():
            return Group("and", negated=True, members=(member,))
        case Group(_, True, (Rule() as alone,)):
            return alone
        case Group(combinator, negated, members):
            return Group(combinator, not negated, members)


def _row(rule, schema):
    takes = OPERATORS[rule.operator].takes if rule.operator in OPERATORS else "nothing known"
    held = rule.value if isinstance(rule.value, tuple) else (rule.value,)
    lacking = takes != "none" and (not held or any(map(is_missing, held)))
    if not rule.field or lacking or takes == "nothing known" or _odd(takes, rule.value):
        return None
    if takes != "many":
        return rule
    once = tuple({repr(item): item for item in held}.values())
    if len(once) > 1 or schema.resolve(rule.field).type == "select":
        return Rule(rule.field, rule.operator, once)
    return Rule(rule.field, {"in": "eq", "not in": "ne"}[rule.operator], once[0])


def _odd(takes, value):
    return isinstance(value, tuple) != (takes in {"many", "pair"}) or (
        takes == "pair" and len(value) != 2
    )
