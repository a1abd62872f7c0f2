-- Both ends of every connection in one row, each as its own node saw it, also through NAT: the initial sequence numbers
-- (flow_id) are the same on both. A minute is for clocks that differ; the numbers hardly come again within it.
CREATE VIEW connections AS
SELECT c.ts AS ts,
       c.flow_id AS flow_id,
       c.node AS client_node,
       c.comm AS client,
       c.conn AS client_conn,
       s.node AS server_node,
       s.comm AS server,
       s.conn AS server_conn,
       s.local_port AS server_port,
       -- A FIN that has gone and not arrived is known to its sender only.
       CASE WHEN c.closed_by = 'local' AND s.closed_by = 'local' THEN 'both'
            WHEN c.closed_by = 'local' THEN 'client'
            WHEN s.closed_by = 'local' THEN 'server'
            ELSE 'neither' END AS closer,
       c.reason AS client_reason,
       s.reason AS server_reason,
       c.pattern AS client_pattern,
       s.pattern AS server_pattern,
       c.end_age_ms AS client_end_age_ms,
       s.end_age_ms AS server_end_age_ms,
       c.story AS client_story,
       s.story AS server_story
FROM tcp_ends AS c
JOIN tcp_ends AS s ON c.flow_id = s.flow_id
WHERE c.role = 'client' AND s.role = 'server' AND abs(c.began_ms - s.began_ms) < 60000;
