'use strict';
// node_clients.js TIMES: SuperAgent and ws against servers that never answer.

const request = require('superagent');
const WebSocket = require('ws');

process.title = 'node-clients';

const quiet = () => {};
for (let i = 0; i < Number(process.argv[2]); i++) {
  request.get('http://127.0.0.1:9001/').timeout({ response: 2000 }).catch(quiet);
  request.get('http://127.0.0.1:9002/').timeout({ deadline: 2000 }).catch(quiet);
  new WebSocket('ws://127.0.0.1:9003/', { handshakeTimeout: 2500 }).on('error', quiet);
}
