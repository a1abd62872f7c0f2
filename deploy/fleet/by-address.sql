-- The same by addresses and time, for connections that were open when tracing began and so have no flow_id. The
-- addresses have to be the same on both ends (no NAT), and of connections with the same ports the nearest in time is taken:
-- the kernel may give a client the same port again within a second. Where both ends have a flow_id, it has to fit.
SELECT client_conn, server_conn, client_node, client, server_node, server, client_reason, server_reason
FROM
(
    SELECT c.conn AS client_conn, s.conn AS server_conn,
           c.node AS client_node, c.comm AS client, s.node AS server_node, s.comm AS server,
           c.reason AS client_reason, s.reason AS server_reason,
           row_number() OVER (PARTITION BY c.node, c.conn ORDER BY abs(c.ts_ms - s.ts_ms)) AS nearest
    FROM tcp_ends AS c
    JOIN tcp_ends AS s ON c.community_id = s.community_id
    WHERE c.local_port = s.peer_port AND c.local_addr = s.peer_addr AND s.role = 'server' AND c.role <> 'server'
      AND abs(c.ts_ms - s.ts_ms) < 60000
      AND (c.flow_id = s.flow_id OR c.flow_id IS NULL OR s.flow_id IS NULL)
) AS candidates
WHERE nearest = 1
ORDER BY client_conn;
