"""The front door: streams to the cluster what is not ours, hands the rest to the application.

Runs in a process of its own. Nothing here may import aiohttp, opensearch-py or numpy: the process has to start
quickly, stay small and live on when the application dies.
"""
