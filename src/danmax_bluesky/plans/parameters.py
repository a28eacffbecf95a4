"""The parameters that several plans have: each is described here once, with its type, unit, limits and help.

The signature of a plan names these types. `plans.signature.complete` reads them, and everything that shows a plan or
asks for its values is made from there: docstring, words at the prompt, command line, forms of the queue, pages of the
site. What a parameter means in one plan alone stands in the docstring of that plan, and goes before the help here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypedDict

from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator
from pydantic import Field

from danmax_bluesky.devices.protocols import MotorDevice
from danmax_bluesky.options import About
from danmax_bluesky.plans.powder import PerStep
from danmax_bluesky.plans.user_devices import AnyMotor
from danmax_bluesky.tomography.scan import LONGEST_S

PerShot = Callable[[Sequence[Any]], MsgGenerator[Any]]
"""Takes what is to be read at an exposure: `one_shot` of Bluesky."""

Exposure = Annotated[float, About(unit="s"), Field(ge=1e-6, le=LONGEST_S, description="exposure")]
Latency = Annotated[
    float,
    About(unit="s"),
    Field(description="dead time between two exposures; never less than what the detectors need"),
]
Steps = Annotated[
    PerStep | None,
    Field(
        description="plan of each point in the place of moving, exposing and reading: it does this by itself, into the "
        "stream `primary`, as Bluesky's `one_nd_step` does. What else it reads goes into streams of other names"
    ),
]

Motor = Annotated[
    str | AnyMotor,
    About(device_kind="motor"),
    Field(description="name of the motor, or a device of your own that is set to a number and read"),
]
BeamlineMotor = Annotated[
    str | MotorDevice,
    About(device_kind="motor"),
    Field(description="name of a motor of the beamline, or the motor itself"),
]
First = Annotated[float, Field(description="first position, in the motor's units")]
Last = Annotated[float, Field(description="last position, in the motor's units")]
Intervals = Annotated[int, Field(description="intervals: n of them take n + 1 positions")]
FromHere = Annotated[bool, Field(description="the positions count from where the motor stands")]

Columns = Annotated[int, Field(description="intervals of the fast motor: n of them give n + 1 columns")]
Rows = Annotated[int, Field(description="intervals of the slow motor: n of them give n + 1 rows")]
SlowFirst = Annotated[float, Field(description="first position of the slow motor, in its units")]
SlowLast = Annotated[float, Field(description="last position of the slow motor, in its units")]
Snake = Annotated[
    bool,
    Field(description="every second row goes back; without it the fast motor returns to the beginning of each row"),
]
File = Annotated[str, Field(description="path of the text file")]

Detectors = Annotated[
    Sequence[str | Readable[Any]],
    About(word="det", device_kind="detector"),
    Field(description="names, or devices of your own that are read at every point; empty takes all active detectors"),
]
CountingDetectors = Annotated[
    Sequence[str | Readable[Any]],
    About(word="det", device_kind="detector"),
    Field(
        description="names, or devices of your own that are read at every point; empty takes the active counting "
        "detectors"
    ),
]
TriggeredDetectors = Annotated[
    Sequence[str],
    About(word="det", device_kind="detector"),
    Field(description="names of detectors that the PandA triggers; empty takes the active counting detectors"),
]
ImagingCamera = Annotated[
    str, About(device_kind="detector"), Field(description="an imaging camera; empty takes the first active one")
]
CountingDetector = Annotated[
    str, About(device_kind="detector"), Field(description="a counting detector; empty takes the first active one")
]
Calibrant = Annotated[str, Field(description="pyFAI's name of the calibrant, or a file of d-spacings")]

Sample = Annotated[
    str | None,
    Field(description="name of the sample; None takes the one of `newsample`, `RE.md` or the settings"),
]
Command = Annotated[str | None, Field(description="as it was typed; None takes the text of this call")]
Metadata = Annotated[Mapping[str, Any] | None, Field(description="what else the start document says, beside `RE.md`")]


class RunOptions(TypedDict, total=False):
    """What every plan that measures takes by name, beside its own parameters: the last keywords of its signature."""

    sample: Sample
    command: Command
    md: Metadata
