"""An emulator of Amazon Connect Cases and Persona on loopback, as strict as their documentation.

It shares no code with the clients: an error of one side cannot hide an error of the other.
"""

from casesearch_pd.emulator.faults.fault import Fault
from casesearch_pd.emulator.faults.schedule import Faults
from casesearch_pd.emulator.options import EmulatorOptions
from casesearch_pd.emulator.server import ReceivedRequest
from casesearch_pd.emulator.service import CaseService

__all__ = ["CaseService", "EmulatorOptions", "Fault", "Faults", "ReceivedRequest"]
