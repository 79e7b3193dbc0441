"""Keep state in a JSON file that survives a crash of the program or the machine."""

import contextlib
import json

from safeatomic import AtomicWriter, atomic_json_dump, atomic_json_load

STATE = "state.json"

with contextlib.suppress(FileExistsError):  # it is there: this is not the first run
    atomic_json_dump(STATE, {"runs": 0}, write_checksum=True, overwrite=False, retries=50)

with AtomicWriter(STATE, write_checksum=True, retries=50) as file:  # locked from here
    state = atomic_json_load(STATE, check_checksum=True)
    state["runs"] += 1
    file.write(json.dumps(state).encode())
print(f"run {state['runs']}; the state is on the disk")

assert atomic_json_load(STATE, check_checksum=True) == state
