-- Timeouts of the fleet: who stopped waiting again and again after the same time, on how many nodes, and what that may be.
SELECT comm,
       pattern,
       waited_s,
       count(*) AS ends,
       count(DISTINCT node) AS nodes,
       count(DISTINCT peer_addr) AS peers,
       min(hint_s) AS known_timeout_s
FROM
(
    SELECT comm, node, pattern, peer_addr, hint_s,
           round(CASE WHEN waited_ms < 10000 THEN round(waited_ms / 100.0) / 10 ELSE round(waited_ms / 1000.0) END, 1) AS waited_s
    FROM
    (
        SELECT comm, node, pattern, peer_addr, hint_s,
               -- Since the last payload in either direction; since ESTABLISHED if there was none.
               CASE WHEN idle_rx_ms IS NULL AND idle_tx_ms IS NULL THEN end_age_ms
                    WHEN idle_tx_ms IS NULL OR idle_rx_ms < idle_tx_ms THEN idle_rx_ms
                    ELSE idle_tx_ms END AS waited_ms
        FROM tcp_ends
        WHERE closed_by = 'local'
          AND pattern IN ('local_gave_up_waiting', 'local_no_answer', 'local_idle_close', 'no_request', 'max_age')
    ) AS waits
    WHERE waited_ms IS NOT NULL
) AS rounded
GROUP BY comm, pattern, waited_s
HAVING count(*) >= 5
ORDER BY ends DESC, comm, waited_s;
