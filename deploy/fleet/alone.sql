-- Ends whose other end no node told: peers outside, boxes on the way that answer for them, and nodes without a tracer.
SELECT peer_addr,
       CASE role WHEN 'client' THEN peer_port ELSE local_port END AS server_port,
       role,
       count(*) AS ends,
       sum(CASE WHEN closed_by = 'peer' THEN 1 ELSE 0 END) AS closed_by_peer
FROM tcp_ends
WHERE event = 'tcp_close'
  AND conn NOT IN (SELECT client_conn FROM connections)
  AND conn NOT IN (SELECT server_conn FROM connections)
GROUP BY peer_addr, server_port, role
ORDER BY ends DESC, peer_addr, server_port;
