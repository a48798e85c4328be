// Server of tus 1.0 with the project's own library: tus_node.js HOST PORT FOLDER
'use strict';
const { Server } = require('@tus/server');
const { FileStore } = require('@tus/file-store');

const [host, port, directory] = process.argv.slice(2);
new Server({ path: '/files', datastore: new FileStore({ directory }) }).listen({ host, port: Number(port) });
