"""The catalogue: every run of a session, found again by what it was.

Nothing here stands between the RunEngine and the disk. The documents of a run are on disk already (its journal); the
catalogue is a copy of them that can be searched, and is brought up to date by a process of its own:

    session --(one line per run)--> runs.jsonl --> feeder process --(HTTP)--> Tiled server process
                                    journals  ----/

`directory` names the few files that these share, `server` is the embedded Tiled server, `feeder` brings journals into
it, `session_catalog` is what a session holds, `client` is for finding runs.
"""
