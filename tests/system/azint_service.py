"""An integration service of its own, and somebody who talks to it."""

import json
import threading
import urllib.request
from collections.abc import Iterator

from danmax_bluesky.callbacks.journal import DocumentJournal
from danmax_bluesky.pipelines.azint_http import ServiceServer
from danmax_bluesky.pipelines.azint_service import IntegrationService
from danmax_bluesky.pipelines.local_http import new_token
from danmax_bluesky.testing.powder import SMALL, DetectorWriter, PowderRun, ring_frames, small_poni
from danmax_bluesky.testing.waiting import eventually

SHAPE = SMALL
PONI = small_poni(rot1=0.0)


class Client:
    def __init__(self, server):
        self.address, self.token = server.address, server.token

    def __call__(self, path, body=None, **headers):
        data = None if body is None else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.token}", **headers}
        request = urllib.request.Request(self.address + path, data=data, headers=sent)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


def serving(root) -> Iterator:
    """Starts servers of a folder, and ends them."""
    made = []

    def start(feeder="", **limits):
        service = IntegrationService(root, feeder, threads=1)
        server = ServiceServer(service, new_token(), **limits)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        made.append((service, server, thread))
        return Client(server)

    yield start
    for service, server, thread in made:
        server.shutdown()
        thread.join()
        server.server_close()
        service.close()


def measure(root, scan_id):
    run = PowderRun(root, [], {"primary": ("data", 6)}, SHAPE, scan_id, consumers=[DocumentJournal()])
    run.folder.mkdir(parents=True, exist_ok=True)
    run.start()
    run.segment("primary")
    with DetectorWriter(run.file, ring_frames(SHAPE, 6, seed=scan_id)) as writer:
        writer.append(6)
    run.rows("primary", 6)
    run.stop()
    return run


def until(client, condition):
    """The first status of the service that fulfils a condition."""
    return eventually(lambda: status if condition((status := client("/status"))["data"]) else None)
