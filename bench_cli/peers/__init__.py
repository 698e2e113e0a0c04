"""Engines written elsewhere, or nowhere: each behind the Protocols, one file per engine."""
