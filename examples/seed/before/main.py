"""The seed's main.py: one process serves, the others work.

    python main.py [127.0.0.1:8080 [PROCESSES]]

The seed starts a process a core, of which one is the server; PROCESSES says how many there are instead.
"""

import multiprocessing
import sys
from multiprocessing import Queue

from server import serve
from worker import worker

MAX_SIZE = 10000


def main() -> None:
    address = sys.argv[1] if len(sys.argv) > 1 else "[::]:8080"
    process_count = int(sys.argv[2]) if len(sys.argv) > 2 else multiprocessing.cpu_count()
    work_queue: Queue = Queue(maxsize=MAX_SIZE)
    update_queue: Queue = Queue(maxsize=MAX_SIZE)
    processes = []
    for i in range(process_count):
        p = multiprocessing.Process(
            target=serve if i == 0 else worker,
            args=(address, work_queue, update_queue) if i == 0 else (work_queue, update_queue),
        )
        # marking the process as daemon means it cannot spawn child
        # processes, and it will be killed when the parent process ends
        p.daemon = True
        p.start()
        processes.append(p)

    # block until all processes have ended
    for p in processes:
        p.join()


if __name__ == "__main__":
    main()
