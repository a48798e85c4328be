#!/bin/sh
# tus-js-client 4.3.1: an upload of the IETF draft in chunks of a file is reported as a success, and never completed.
#
# draft-ietf-httpbis-resumable-upload says that an upload is incomplete until the client says that it is complete, whatever the numbers
# are. With `protocol: 'ietf-draft-05'` the client says Upload-Complete: ?1 with the last chunk of a Buffer. From fs.createReadStream it
# says ?0 with each chunk, the last one too, unless the file is one chunk; onSuccess is called nevertheless. A server that waits for ?1
# keeps the upload as unfinished.
#
# Output seen: Buffer: ?0 ?1 success / file: ?0 ?0 success
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --prefix "$folder" --silent --no-audit --no-fund tus-js-client@4.3.1
cat > "$folder/chunks.js" <<'JAVASCRIPT'
const fs = require("node:fs");
const http = require("node:http");
const tus = require("tus-js-client");

const path = `${__dirname}/file`;
fs.writeFileSync(path, "0123456789");
let seen = [];
let offset = 0;

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    offset += Buffer.concat(chunks).length;
    if (request.method === "PATCH") seen.push(request.headers["upload-complete"]);
    response.writeHead(201, { Location: "/upload", "Upload-Offset": offset });
    response.end();
  });
});

const send = (source) =>
  new Promise((resolve) => {
    [seen, offset] = [[], 0];
    new tus.Upload(source, {
      endpoint: `http://127.0.0.1:${server.address().port}/`,
      protocol: "ietf-draft-05",
      chunkSize: 5,
      onSuccess: () => resolve(`${seen.join(" ")} success`),
      onError: (error) => resolve(error.message),
    }).start();
  });

server.listen(0, "127.0.0.1", async () => {
  const buffer = await send(fs.readFileSync(path));
  const file = await send(fs.createReadStream(path));
  console.log(`Buffer: ${buffer} / file: ${file}`);
  server.close();
  server.closeAllConnections();
});
JAVASCRIPT
seen=$(node "$folder/chunks.js")
echo "$seen"
[ "$seen" = "Buffer: ?0 ?1 success / file: ?0 ?0 success" ]
