'use strict';
// HTTP servers with one time limit each, and a web socket server that drops clients which do not answer its pings.

const http = require('http');
const { WebSocketServer } = require('ws');

process.title = 'node-servers';

function serve(port, options, handler = (request, response) => response.end('ok')) {
  return http.createServer(options, handler).listen(port, '127.0.0.1');
}

// The response comes when the request is complete.
const whole = (request, response) => request.on('end', () => response.end('ok')).resume();

serve(8001, {});
serve(8002, { headersTimeout: 2000, connectionsCheckingInterval: 200 });
serve(8003, { headersTimeout: 2000, connectionsCheckingInterval: 200 });
serve(8004, { headersTimeout: 2000, requestTimeout: 2000, connectionsCheckingInterval: 200 }, whole);
serve(8005, {}, () => {}).setTimeout(1500);

const sockets = new WebSocketServer({ host: '127.0.0.1', port: 8006 });
setInterval(() => {
  for (const client of sockets.clients) {
    if (client.pinged) client.terminate();
    client.pinged = true;
    client.ping();
  }
}, 2000);
