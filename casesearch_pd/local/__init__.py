"""The embedded case service: Amazon Connect Cases and Persona on loopback, strict as documented.

It shares no code with the clients: both sides meet on the wire only.
"""

from casesearch_pd.local.choices import Choices
from casesearch_pd.local.fault import Fault
from casesearch_pd.local.faults import Faults
from casesearch_pd.local.server import Received
from casesearch_pd.local.service import CaseService

__all__ = ["CaseService", "Choices", "Fault", "Faults", "Received"]
