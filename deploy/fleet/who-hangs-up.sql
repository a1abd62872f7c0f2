-- Who hangs up on whom, most often first; and how often the other end lost something by it or failed.
SELECT CASE closer WHEN 'client' THEN client ELSE server END AS hung_up,
       CASE closer WHEN 'client' THEN client_node ELSE server_node END AS on_node,
       CASE closer WHEN 'client' THEN server ELSE client END AS on_whom,
       CASE closer WHEN 'client' THEN server_node ELSE client_node END AS of_node,
       closer,
       server_port,
       count(*) AS ends,
       sum(CASE WHEN (closer = 'client' AND server_reason <> 'fin_peer')
                  OR (closer = 'server' AND client_reason <> 'fin_peer') THEN 1 ELSE 0 END) AS hurt,
       min(CASE closer WHEN 'client' THEN client_end_age_ms ELSE server_end_age_ms END) AS least_age_ms,
       max(CASE closer WHEN 'client' THEN client_end_age_ms ELSE server_end_age_ms END) AS most_age_ms
FROM connections
WHERE closer IN ('client', 'server')
GROUP BY hung_up, on_node, on_whom, of_node, closer, server_port
ORDER BY ends DESC, hurt DESC, hung_up, on_whom, server_port;
