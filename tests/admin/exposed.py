"""The contract of metric names, written down a second time from the specification (§9), and a reader of scrapes."""

from __future__ import annotations

from prometheus_client.openmetrics.parser import text_string_to_metric_families

OPENMETRICS = "application/openmetrics-text; version=1.0.0"

CONTRACT = {
    "aegis_requests_total": {"code", "method", "reason"},
    "aegis_request_duration_seconds": set(),
    "aegis_backend_response_seconds": {"backend"},
    "aegis_requests_in_flight": set(),
    "aegis_requests_aborted_total": {"side"},
    "aegis_open_connections": set(),
    "aegis_connections_total": {"result"},
    "aegis_backend_up": {"backend"},
    "aegis_backend_eligible": {"backend"},
    "aegis_backend_weight_ratio": {"backend"},
    "aegis_backend_in_flight": {"backend"},
    "aegis_breaker_state": {"backend", "state"},
    "aegis_breaker_transitions_total": {"backend", "to"},
    "aegis_health_checks_total": {"backend", "result"},
    "aegis_ratelimit_requests_total": {"decision"},
    "aegis_ratelimit_rate": set(),
    "aegis_ratelimit_tracked": set(),
    "aegis_ratelimit_evictions_total": set(),
    "aegis_adaptive_decisions_total": {"action", "reason"},
    "aegis_adaptive_p95_seconds": set(),
    "aegis_retries_total": set(),
    "aegis_config_reloads_total": {"result"},
    "aegis_logs_dropped_total": set(),
    "aegis_frames_skipped_total": set(),
    "aegis_accept_queue": set(),
    "aegis_hub_lag_seconds": set(),
    "aegis_build_info": {"version"},
}

BUCKETS = {".005", ".01", ".025", ".05", ".075", ".1", ".25", ".5", ".75", "1", "2.5", "5", "7.5", "10"}

_SUFFIXES = {"counter": "_total", "info": "_info"}


def parsed(text):
    """Metric families of an OpenMetrics text by the name that queries use; the parser is strict."""
    return {
        family.name + _SUFFIXES.get(family.type, ""): family
        for family in text_string_to_metric_families(text.decode() if isinstance(text, bytes) else text)
    }


def value(families, name, **labels):
    """The one sample of a counter or gauge with these labels."""
    (found,) = [sample.value for sample in families[name].samples if sample.name == name and sample.labels == labels]
    return found
