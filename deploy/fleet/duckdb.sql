-- The ends of all recordings in the folder recordings/, one file or more a node, as they are: nothing is loaded first.
CREATE VIEW tcp_ends AS
SELECT * EXCLUDE (ts),
       ts::TIMESTAMP AS ts,
       -- For the queries, which know no engine: milliseconds since 1970 of the end, and of ESTABLISHED.
       epoch_ms(ts::TIMESTAMP) AS ts_ms,
       epoch_ms(ts::TIMESTAMP) - age_ms AS began_ms
FROM read_json('recordings/*.ndjson', format = 'newline_delimited', ignore_errors = true, columns = {
    ts: 'VARCHAR',
    event: 'VARCHAR',
    node: 'VARCHAR',
    conn: 'VARCHAR',
    flow_id: 'VARCHAR',
    community_id: 'VARCHAR',
    role: 'VARCHAR',
    local_addr: 'VARCHAR',
    local_port: 'USMALLINT',
    peer_addr: 'VARCHAR',
    peer_port: 'USMALLINT',
    pid: 'UINTEGER',
    comm: 'VARCHAR',
    container_id: 'VARCHAR',
    pod_uid: 'VARCHAR',
    unit: 'VARCHAR',
    reason: 'VARCHAR',
    closed_by: 'VARCHAR',
    how: 'VARCHAR',
    errno: 'VARCHAR',
    end_age_ms: 'BIGINT',
    age_ms: 'BIGINT',
    idle_rx_ms: 'BIGINT',
    idle_tx_ms: 'BIGINT',
    rx_bytes: 'BIGINT',
    tx_bytes: 'BIGINT',
    tx_unacked_bytes: 'BIGINT',
    tx_after_fin_bytes: 'BIGINT',
    pattern: 'VARCHAR',
    hints: 'VARCHAR[]',
    hint_s: 'BIGINT',
    story: 'VARCHAR'
})
WHERE event IN ('tcp_close', 'tcp_connect_failed');
