// Client of tus for the tests: uploads a file with tus-js-client or Uppy as a JSON argument says.
//
//     MODULES=FOLDER node tus_client.js '{"endpoint": …, "file": …, "options": {…}}'
//
// Prints `url ADDRESS`, `progress BYTES`, and at the end `success` or `error TEXT`.
//
// endpoint, file   where to, and which
// options          of tus.Upload
// stream           send what a pipe yields, whose pieces become requests
// store            file in which addresses are kept; an upload that is found there goes on
// dieAt            bytes after which the process kills itself
// uppy             let Uppy do it, with tus-js-client in it
const fs = require("node:fs");
const { pathToFileURL } = require("node:url");

const modules = process.env.MODULES;
const wanted = JSON.parse(process.argv[2]);
const tell = (line) => fs.writeSync(1, `${line}\n`);

function source() {
  if (wanted.stream) return require("node:stream").Readable.from(pieces(fs.readFileSync(wanted.file)));
  return wanted.buffer ? fs.readFileSync(wanted.file) : fs.createReadStream(wanted.file);
}

function* pieces(data) {
  for (let start = 0; start < data.length; start += 65536) yield data.subarray(start, start + 65536);
}

async function withTus() {
  const tus = require(`${modules}/tus-js-client`);
  const upload = new tus.Upload(source(), {
    endpoint: wanted.endpoint,
    ...(wanted.store && { urlStorage: new tus.FileUrlStorage(wanted.store) }),
    ...wanted.options,
    onUploadUrlAvailable: () => tell(`url ${upload.url}`),
    onProgress: (sent) => {
      tell(`progress ${sent}`);
      if (wanted.dieAt && sent >= wanted.dieAt) process.kill(process.pid, "SIGKILL");
    },
    onSuccess: () => tell("success"),
    onError: (error) => tell(`error ${error.message.replaceAll("\n", " ")}`),
  });
  if (wanted.store) {
    const [previous] = await upload.findPreviousUploads();
    if (previous) {
      tell(`found ${previous.uploadUrl ?? previous.parallelUploadUrls}`);
      upload.resumeFromPreviousUpload(previous);
    }
  }
  upload.start();
}

async function withUppy() {
  const load = async (name) => (await import(pathToFileURL(`${modules}/${name}/lib/index.js`))).default;
  const [Uppy, Tus] = [await load("@uppy/core"), await load("@uppy/tus")];
  const uppy = new Uppy({ debug: false }).use(Tus, { endpoint: wanted.endpoint, ...wanted.options });
  uppy.on("upload-progress", (_, { bytesUploaded }) => tell(`progress ${bytesUploaded}`));
  uppy.on("upload-success", (_, { uploadURL }) => tell(`url ${uploadURL}`));
  uppy.addFile({ name: wanted.options.metadata.filename, data: fs.readFileSync(wanted.file) });
  const { failed } = await uppy.upload();
  tell(failed.length ? `error ${failed[0].error}` : "success");
}

(wanted.uppy ? withUppy() : withTus()).catch((error) => tell(`error ${error.stack}`));
