"""Where a worker process begins: ``python -m bench_cli.runner.start``.

The collector rests while the modules of the row are imported: going through them again and again
is a tenth of a worker's start, and finds nothing. The worker switches it on before it measures.
"""

import gc

if __name__ == "__main__":
    gc.disable()
    from bench_cli.runner import worker

    worker.serve()
