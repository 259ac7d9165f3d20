"""A source of one's own: a ticket service with a small REST API, in one class."""

import casesearch_pd as cs
from casesearch_pd.query.expressions import And, Compare
from casesearch_pd.query.schema import Field
from casesearch_pd.sources.base import Page, Request
from casesearch_pd.sources.traits import ServiceTraits

# The columns that all services share, by the names of this one.
COLUMNS = {"key": "case_id", "opened": "created_at", "updated": "updated_at", "state": "status"}
# The comparisons that the service has a parameter for.
PARAMETERS = {
    ("status", "eq"): "state",
    ("created_at", "gte"): "opened_from",
    ("created_at", "lt"): "opened_before",
    ("updated_at", "gte"): "updated_from",
}


class TicketCases(cs.BaseSource):
    """Tickets of ``tickets://HOST/api``; the token comes from ``TICKETS_TOKEN``."""

    name = "tickets"
    traits = ServiceTraits("Ticket desk", closed_status="done", keyed_tags=False)
    token_variable = "TICKETS_TOKEN"
    can_count = True  # each page contains the total
    max_sorts = 1  # tickets come in the order of their opening
    page_size = 50
    rate = 5.0  # requests per second

    def discover(self):
        """Return one field per entry of ``/fields``: its name, label and type."""
        entries = self.fetch(Request("GET", "/api/fields"), lambda response: response.json())
        return [
            Field(COLUMNS.get(entry["name"], entry["name"]), *entry.values()) for entry in entries
        ]

    def pushdown_support(self, comparison):
        """Return "exact" for the comparisons that have a parameter."""
        return "exact" if parameter(comparison) else "unsupported"

    def can_request(self, where):
        """Return whether a filter is a list of comparisons with a parameter each."""
        names = [parameter(term) for term in terms(where)]
        return all(names) and len(names) == len({*names})

    def can_sort_by(self, field):
        """Return whether the field is the time of opening."""
        return field.column == "created_at"

    def request(self, scan, cursor=None):
        """Return a GET request with one parameter per comparison."""
        query = [(parameter(term), str(term.value)) for term in terms(scan.where)]
        query += [("size", str(self.page_size)), *([("after", cursor)] if cursor else [])]
        return Request("GET", "/api/tickets", query=tuple(query))

    def page(self, response, scan):
        """Return the tickets of a response."""
        body = response.json()
        return Page.from_records(
            body["tickets"], scan.fields, cursor=body["next"], total=body["total"]
        )


def terms(where):
    """Return the terms of a conjunction; a filter that keeps every case has none."""
    return where.terms if isinstance(where, And) else (where,)


def parameter(term):
    """Return the name of the parameter for a comparison; None if there is none."""
    return PARAMETERS.get((term.target.column, term.op)) if isinstance(term, Compare) else None
