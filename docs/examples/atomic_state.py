"""Keep state in a JSON file that survives a crash of the program or the machine."""

from safeatomic import atomic_json_dump, atomic_json_load

STATE = "state.json"

try:
    state = atomic_json_load(STATE, check_checksum=True)
except FileNotFoundError:
    state = {"runs": 0}

state["runs"] += 1
atomic_json_dump(STATE, state, write_checksum=True)
print(f"run {state['runs']}; the state is on the disk")

assert atomic_json_load(STATE, check_checksum=True) == state
