// Clients of tus for the tests: upload files, one after another, with tus-js-client or Uppy.
//
//     MODULES=FOLDER node tus_client.js '[{"endpoint": …, "file": …, "options": {…}}, …]'
//
// Prints `url ADDRESS` and `progress BYTES`, and at the end of each `success` or `error TEXT`.
//
// endpoint, file   where to, and which
// options          of tus.Upload, or of Uppy's plugin
// pipe             send what a pipe yields, each piece of which becomes a request
// store            file in which addresses are kept; an upload that is found there goes on
// dieAt            bytes after which the process kills itself
// uppy             let Uppy do it
const fs = require("node:fs");
const { Readable } = require("node:stream");
const { pathToFileURL } = require("node:url");

const modules = process.env.MODULES;
const tell = (line) => fs.writeSync(1, `${line}\n`);

function* pieces(data) {
  for (let start = 0; start < data.length; start += 65536) yield data.subarray(start, start + 65536);
}

async function withTus({ endpoint, file, options, pipe, store, dieAt }) {
  const tus = require(`${modules}/tus-js-client`);
  const source = pipe ? Readable.from(pieces(fs.readFileSync(file))) : fs.createReadStream(file);
  const { promise, resolve } = withResolver();
  const upload = new tus.Upload(source, {
    endpoint,
    ...(store && { urlStorage: new tus.FileUrlStorage(store) }),
    ...options,
    onUploadUrlAvailable: () => tell(`url ${upload.url}`),
    onProgress: (sent) => {
      tell(`progress ${sent}`);
      if (dieAt && sent >= dieAt) process.kill(process.pid, "SIGKILL");
    },
    onSuccess: () => resolve(tell("success")),
    onError: (error) => resolve(tell(`error ${error.message.replaceAll("\n", " ")}`)),
  });
  if (store) {
    const [previous] = await upload.findPreviousUploads();
    if (previous) upload.resumeFromPreviousUpload(previous);
  }
  upload.start();
  await promise;
}

function withResolver() {
  let resolve;
  return { promise: new Promise((found) => (resolve = found)), resolve };
}

async function withUppy({ endpoint, file, options }) {
  const load = async (name) => (await import(pathToFileURL(`${modules}/${name}/lib/index.js`))).default;
  const [Uppy, Tus] = [await load("@uppy/core"), await load("@uppy/tus")];
  const uppy = new Uppy().use(Tus, { endpoint, ...options });
  uppy.on("upload-progress", (_, { bytesUploaded }) => tell(`progress ${bytesUploaded}`));
  uppy.on("upload-success", (_, { uploadURL }) => tell(`url ${uploadURL}`));
  uppy.addFile({ name: options.metadata.filename, data: fs.readFileSync(file) });
  const { failed } = await uppy.upload();
  tell(failed.length ? `error ${failed[0].error}` : "success");
}

(async () => {
  for (const wanted of JSON.parse(process.argv[2])) await (wanted.uppy ? withUppy : withTus)(wanted);
})().catch((error) => tell(`error ${error.stack}`));
