"""Where a worker process begins: ``python -m bench_cli.runner.start``; with the word ``server``
one that forks workers.

The collector rests while the modules of the row are imported: going through them again and again
is a tenth of a worker's start, and finds nothing. The worker switches it on before it measures.
"""

import gc
import sys

if __name__ == "__main__":
    gc.disable()
    if sys.argv[1:] == ["server"]:
        from bench_cli.runner import server

        server.serve()
    else:
        from bench_cli.runner import worker

        worker.serve()
