-- A table for the ends of all nodes. Vector fills it (vector.yaml); keys that are not columns are skipped.
CREATE TABLE tcp_ends
(
    ts DateTime64(9, 'UTC'),
    event LowCardinality(String),
    node LowCardinality(String),
    conn String,
    flow_id Nullable(String),
    community_id Nullable(String),
    role LowCardinality(String),
    local_addr String,
    local_port UInt16,
    peer_addr String,
    peer_port UInt16,
    pid Nullable(UInt32),
    comm Nullable(String),
    container_id Nullable(String),
    pod_uid Nullable(String),
    unit Nullable(String),
    reason LowCardinality(String),
    closed_by LowCardinality(String),
    how LowCardinality(String),
    errno Nullable(String),
    end_age_ms Nullable(Int64),
    age_ms Nullable(Int64),
    idle_rx_ms Nullable(Int64),
    idle_tx_ms Nullable(Int64),
    rx_bytes Nullable(Int64),
    tx_bytes Nullable(Int64),
    tx_unacked_bytes Nullable(Int64),
    tx_after_fin_bytes Nullable(Int64),
    pattern Nullable(String),
    hints Array(String),
    hint_s Nullable(Int64),
    story Nullable(String),
    -- For the queries, which know no engine: milliseconds since 1970 of the end, and of ESTABLISHED.
    ts_ms Int64 ALIAS toUnixTimestamp64Milli(ts),
    began_ms Nullable(Int64) ALIAS toUnixTimestamp64Milli(ts) - age_ms
)
ENGINE = MergeTree
PARTITION BY toDate(ts)
ORDER BY (ts, conn)
TTL toDateTime(ts) + INTERVAL 30 DAY;
