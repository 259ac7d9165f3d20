"""What was read, when and how completely: one JSON text that travels with a DataFrame.

It is text because pandas copies ``attrs`` deeply at every step, and because text survives
Parquet and pickle. It never contains a secret.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import pandas as pd
from pandas.util import hash_array

from casesearch_pd.query.serialization import filter_to_json
from casesearch_pd.reading.recent_reads import recall_reads
from casesearch_pd.sources.traits import ServiceTraits, traits_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from casesearch_pd.query.schema import Field, FieldType, Schema
    from casesearch_pd.reading.options import BoundQuery
    from casesearch_pd.reading.recent_reads import RecalledReads
    from casesearch_pd.sources.base import Source
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = [
    "KEY",
    "Provenance",
    "ReadMetadata",
    "combine_digests",
    "digest_ids",
    "read_provenance",
    "write_provenance",
    "zone_of_frame",
]

KEY = "casesearch"
_FORMAT = 1
# Fields whose JSON key is another one.
_NAMES = {
    "is_chunk": "part",
    "listing": "around",
    "not_found": "gone",
}
_ONLY_RELATED = ("listing", "cases", "not_found")
_RELATED = ("source", "traits", "tz", "rows", "requests", "complete", "as_of", "notes")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How the rows of a DataFrame were read; all defaults if nothing is known."""

    exists: bool = True  # False if the DataFrame has no provenance at all
    source: Mapping[str, Any] = field(default_factory=dict)  # what `Source.describe` returned
    traits: ServiceTraits = field(default_factory=ServiceTraits)
    filter: dict[str, Any] | None = None  # JSON of `filter_to_json`; None if rows are not cases
    search: str | None = None
    tz: str = "UTC"
    columns: Mapping[str, str] = field(default_factory=dict)  # column name to field id
    # Column name to the prefix of the values that only the service can compare; "" for all values.
    remote_only: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, FieldType] = field(default_factory=dict)  # column name to type
    # Column name to the values and labels of its options, where a service lists them.
    options: Mapping[str, list[list[str]]] = field(default_factory=dict)
    sort: tuple[str, ...] = ()
    limit: int | None = None
    now: pd.Timestamp | None = None  # that relative times counted from
    is_chunk: bool = False  # whether these rows are one chunk of a longer read
    rows: int | None = None
    total: int | None = None  # None where the service does not count
    requests: int | None = None
    passes: int | None = None
    complete: bool | None = None  # None if not known
    as_of: pd.Timestamp | None = None  # the clock of the service when the read began
    notes: tuple[str, ...] = ()  # what else the user should know
    ids: str | None = None  # the digest of the case ids, see `digest_ids`
    # Of rows that were put together: what each read asked for and returned.
    parts: tuple[Mapping[str, Any], ...] = ()
    # Of rows read per case: what they are, how many cases were read, and those that do not exist.
    listing: str | None = None
    cases: int | None = None
    not_found: tuple[str, ...] = ()

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Provenance:
        """Return what is known of the rows of a DataFrame.

        That is what its attributes say; else, because pandas drops them in merge, concat and
        files, what this session remembers of reading these cases; else nothing.
        """
        provenance = cls.from_attrs(frame)
        if provenance.exists:
            return provenance
        recalled = recall_reads(frame)
        return provenance if recalled is None else _compose(recalled, len(frame))

    @classmethod
    def from_attrs(cls, frame: pd.DataFrame) -> Self:
        """Return the provenance in the attributes, whatever version of the package wrote it."""
        return cls._from_record(_stored_record(frame))

    @classmethod
    def _from_record(cls, record: Mapping[str, Any]) -> Self:
        if not record:
            return cls(exists=False)
        names = {name: _NAMES.get(name, name) for name in cls.__dataclass_fields__}
        # A missing or null value leaves the default, and an unknown key is ignored.
        values = {name: record[key] for name, key in names.items() if record.get(key) is not None}
        for name in ("now", "as_of"):
            if name in values:
                values[name] = pd.Timestamp(values[name])
        for name in ("sort", "notes", "not_found", "parts"):
            if name in values:
                values[name] = tuple(values[name])
        return cls(**values | {"exists": True, "traits": traits_of(record)})

    @property
    def reads(self) -> tuple[Provenance, ...]:
        """The provenance of each read that the rows come from; usually there is one."""
        if not self.parts:
            return (self,)
        own = {key: value for key, value in self.to_json().items() if key != "parts"}
        return tuple(type(self)._from_record(own | dict(part)) for part in self.parts)  # noqa: SLF001

    @property
    def service(self) -> str | None:
        """The name of the service; None if not known."""
        return self.source.get("service")

    def to_json(self) -> dict[str, Any]:
        """Return the values for JSON, under the keys that users see."""
        values = {
            name: value.isoformat() if isinstance(value, pd.Timestamp) else value
            for name, value in vars(self).items()
            if name != "exists"
        } | {"traits": self.traits.to_json()}
        names = [*_ONLY_RELATED, *_RELATED]
        if self.listing is None:
            names = [name for name in values if name not in _ONLY_RELATED]
        return {"format": _FORMAT} | {_NAMES.get(name, name): values[name] for name in names}

    def to_attrs(self) -> dict[str, str]:
        """Return what ``DataFrame.attrs`` holds: one JSON text."""
        return {KEY: json.dumps(self.to_json(), ensure_ascii=False)}


@dataclass
class ReadMetadata:
    """What is learned during a read and goes into its provenance."""

    rows: int = 0
    total: int | None = None  # where the service counts
    as_of: pd.Timestamp | None = None  # the clock of the service when the read began
    passes: int = 0
    complete: bool = True
    notes: list[str] = field(default_factory=list)
    new_fields: dict[str, str] = field(default_factory=dict)  # not in the schema: column to id
    is_chunk: bool = False


def read_provenance(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the provenance as a dict for users; raise ValueError if it is something else."""
    record = _stored_record(frame)
    if record:
        return record
    provenance = Provenance.of(frame)
    return json.loads(provenance.to_attrs()[KEY]) if provenance.exists else {}


def _stored_record(frame: pd.DataFrame) -> dict[str, Any]:
    text = frame.attrs.get(KEY)
    if text is None:
        return {}
    try:
        record = json.loads(text)
    except (TypeError, ValueError):
        record = None
    if not isinstance(record, dict):
        raise ValueError(f"attrs[{KEY!r}] is not provenance: {text!r}")  # noqa: TRY004 - so documented
    return record


def write_provenance(
    frame: pd.DataFrame,
    source: Source,
    query: BoundQuery,
    metadata: ReadMetadata,
    context: ReadContext,
    *,
    ids: str,
    tz: str,
) -> pd.DataFrame:
    """Write the provenance of a read into ``frame.attrs``, and return the frame."""
    provenance = Provenance(
        source=source.describe(),
        traits=source.traits,
        filter=filter_to_json(query.filter),
        search=query.search,
        tz=tz,
        columns={item.column: item.id for item in query.columns} | metadata.new_fields,
        remote_only=_remote_only(source.schema),
        types={item.column: item.type for item in query.columns},
        options=_options(query.columns),
        sort=tuple(("-" if item.descending else "") + item.field.column for item in query.sort),
        limit=query.limit,
        now=query.now,
        is_chunk=metadata.is_chunk,
        rows=metadata.rows,
        total=metadata.total,
        requests=context.requests,
        passes=metadata.passes,
        complete=metadata.complete,
        as_of=metadata.as_of,
        notes=tuple(metadata.notes),
        ids=ids,
    )
    frame.attrs |= provenance.to_attrs()
    return frame


_MAX_OPTIONS = 500  # of one column
_MAX_OPTION_TEXT = 256_000  # characters of all columns


def _options(columns: Iterable[Field]) -> dict[str, list[list[str]]]:
    """Return the options of the columns of a frame, as far as they are not too many to store."""
    options: dict[str, list[list[str]]] = {}
    length = 0
    for item in columns:
        length += sum(len(option.value) + len(option.label) for option in item.options)
        if item.options and len(item.options) <= _MAX_OPTIONS and length <= _MAX_OPTION_TEXT:
            options[item.column] = [[option.value, option.label] for option in item.options]
    return options


def zone_of_frame(
    frame: pd.DataFrame, default: str = "UTC", provenance: Provenance | None = None
) -> Any:
    """Return the zone of naive times in a frame.

    It is that of the read; in a frame without provenance that of its first column of times with
    a zone; otherwise the default. Pass the provenance where it is known already.
    """
    provenance = provenance or Provenance.of(frame)
    if provenance.exists:
        return provenance.tz
    zones = (getattr(dtype, "tz", None) or _arrow_zone(dtype) for dtype in frame.dtypes)
    return next((zone for zone in zones if zone is not None), default)


def _arrow_zone(dtype: Any) -> str | None:
    is_arrow = isinstance(dtype, pd.ArrowDtype)
    return getattr(dtype.pyarrow_dtype, "tz", None) if is_arrow else None


def _remote_only(schema: Schema) -> dict[str, str]:
    """Return the fields that only the service can compare, or the prefix of such values."""
    return {
        item.column: item.remote_only
        for item in schema.fields
        if item.remote_only or not item.visible
    }


# --- rows of several reads ----------------------------------------------------------------

# What differs between the parts of a composed DataFrame, by the keys of public provenance.
_PART_KEYS = (
    "filter", "search", "sort", "limit", "now", "part", "rows", "total", "complete", "as_of",
)  # fmt: skip


def _compose(recalled: RecalledReads, rows: int) -> Provenance:
    """Return the provenance of rows of recalled reads."""
    parts: tuple[Provenance, ...] = recalled.provenances
    is_changed = recalled.frame_cases != recalled.read_cases
    notes = [note for part in parts for note in part.notes]
    if len(parts) > 1:
        notes.append(f"put together of {len(parts)} reads, which 'parts' describes")
    if is_changed:
        notes.append(
            f"{rows} rows of {recalled.frame_cases} of the {recalled.read_cases} cases that were "
            "read"
        )
    notes = list(dict.fromkeys(notes))
    if len(parts) == 1:
        return replace(parts[0], notes=tuple(notes))
    return _combine(parts, notes)


def _combine(parts: Sequence[Provenance], notes: Sequence[str]) -> Provenance:
    """Return what several reads of one source have in common, and their sums."""
    first = parts[0]

    def common(name: str, default: Any = None) -> Any:
        values = [getattr(part, name) for part in parts]
        return values[0] if all(value == values[0] for value in values) else default

    def merged(name: str) -> dict[str, Any]:
        return {key: value for part in parts for key, value in getattr(part, name).items()}

    return replace(
        first,
        filter=common("filter"),
        search=common("search"),
        tz=common("tz", "UTC"),
        columns=merged("columns"),
        remote_only=merged("remote_only"),
        types=merged("types"),
        options=merged("options"),
        sort=common("sort", ()),
        limit=None,
        now=common("now"),
        is_chunk=False,
        rows=sum(part.rows or 0 for part in parts),
        total=None,
        requests=sum(part.requests or 0 for part in parts),
        passes=max(part.passes or 0 for part in parts),
        complete=all(part.complete for part in parts),
        as_of=min((part.as_of for part in parts if part.as_of is not None), default=None),
        notes=tuple(notes),
        ids=None,
        parts=tuple({key: part.to_json()[key] for key in _PART_KEYS} for part in parts),
    )


_SLICE = 10_000  # rows
_KEYS = ("casesearch_pd 01", "casesearch_pd 02")  # of 16 bytes, as SipHash requires


def digest_ids(ids: pd.Series[Any]) -> str:
    """Return a digest of a set of case ids, whatever their order.

    It consists of two sums of keyed 64-bit hashes (SipHash, which pandas promises to be the
    same everywhere), so that `combine_digests` of parts equals the digest of the whole.
    """
    sums = [0, 0]
    # Python strings take far more memory than a column of them, so only a slice exists at once.
    for start in range(0, len(ids), _SLICE):
        texts = ids.iloc[start : start + _SLICE].to_numpy(dtype=object)
        for half, key in enumerate(_KEYS):
            sums[half] += int(hash_array(texts, hash_key=key, categorize=False).sum())
    return "".join(f"{value % 2**64:016x}" for value in sums)


def combine_digests(one: str, other: str) -> str:
    """Return the digest of the union of two disjoint sets of ids."""
    halves = zip(_halves(one), _halves(other), strict=True)
    return "".join(f"{(a + b) % 2**64:016x}" for a, b in halves)


def _halves(digest: str) -> tuple[int, int]:
    return int(digest[:16], 16), int(digest[16:], 16)
