// Node's net and dgram.   node node_net.js tcp|udp PORT
'use strict';

const dgram = require('node:dgram');
const net = require('node:net');

const [protocol, port] = process.argv.slice(2);

if (protocol === 'udp') {
  const socket = dgram.createSocket('udp4');
  socket.on('message', (message, peer) => socket.send(message, peer.port, peer.address));
  socket.bind(Number(port), '127.0.0.1');
} else {
  const server = net.createServer({ noDelay: true }, (socket) => {
    socket.on('data', (data) => socket.write(data));
    socket.on('error', () => socket.destroy());
  });
  server.listen({ port: Number(port), host: '127.0.0.1', backlog: 1024 });
}
