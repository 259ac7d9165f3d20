"""The embedded case service: Amazon Connect Cases and Persona on loopback, strict as documented.

It shares no code with the clients: both sides meet on the wire only.
"""

from casesearch_pd.emulator.faults.fault import Fault
from casesearch_pd.emulator.faults.schedule import Faults
from casesearch_pd.emulator.options import EmulatorOptions
from casesearch_pd.emulator.server import ReceivedRequest
from casesearch_pd.emulator.service import CaseService

__all__ = ["CaseService", "EmulatorOptions", "Fault", "Faults", "ReceivedRequest"]
