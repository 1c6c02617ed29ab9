// The benchmark protocol on uWebSockets.js: one process, no worker behind it. PORT (9189).
const { createRequire } = require('module');
// NODE_MODULES names a directory to take the package from, if it is not beside this file.
const from = process.env.NODE_MODULES ? createRequire(process.env.NODE_MODULES + '/') : require;
const uWS = from('uwebsockets');

const port = Number(process.env.PORT) || 9189;
const app = uWS.App();
const letter = (message) => String.fromCharCode(new Uint8Array(message, 0, Math.min(1, message.byteLength))[0] || 0);
const group = (message) => 'g:' + Buffer.from(message).toString().slice(1).split(' ', 1)[0];
let greeted = 0;

app.ws('/*', {
  compression: 0,
  idleTimeout: 0,
  maxBackpressure: 64 * 1024 * 1024,
  maxPayloadLength: 16 * 1024 * 1024,
  open: (ws) => {
    ws.subscribe('all');
    ws.send(`{"type":"welcome","client_id":"${(greeted++).toString(16).padStart(20, '0')}"}`);
  },
  message: (ws, message, binary) => {
    switch (letter(message)) {
      case 'E': ws.send(message, binary); break;
      case 'B': app.publish('all', message, binary); break;
      case 'J': ws.subscribe(group(message)); break;
      case 'L': ws.unsubscribe(group(message)); break;
      case 'G': app.publish(group(message), message, binary); break;
      case 'S': ws.send('S' + app.numSubscribers('all')); break;
    }
  },
}).listen('127.0.0.1', port, (socket) => {
  if (!socket) {
    console.error(`port ${port} is not free`);
    process.exit(1);
  }
});
