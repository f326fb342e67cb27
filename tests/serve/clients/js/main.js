// A client of Check with grpc-js; see ../README.md for what it does and prints.
"use strict";
const grpc = require("@grpc/grpc-js");

const WORKERS = 8;
const PAUSE = 5; // milliseconds of a worker, between calls
const [target, allowed, denied] = process.argv.slice(2);
if (!denied) {
  console.error("expected TARGET ALLOWED DENIED");
  process.exit(2);
}
const requests = [Buffer.from(allowed, "hex"), Buffer.from(denied, "hex")];
const bytes = (message) => message;
const Client = grpc.makeGenericClientConstructor({
  check: {
    path: "/envoy.service.auth.v3.Authorization/Check",
    requestStream: false, responseStream: false,
    requestSerialize: bytes, requestDeserialize: bytes, responseSerialize: bytes, responseDeserialize: bytes,
  },
}, "Authorization");
const alive = {
  "grpc.keepalive_time_ms": 200, "grpc.keepalive_timeout_ms": 5000, "grpc.keepalive_permit_without_calls": 1,
};
const plain = new Client(target, grpc.credentials.createInsecure(), alive);
const packed = new Client(target, grpc.credentials.createInsecure(), {
  ...alive, "grpc.default_compression_algorithm": 2, "grpc.use_local_subchannel_pool": 1,
});
const found = { calls: 0, wrong: 0, failed: [], cancelled: 0, expired: 0, compressed: 0 };
let ending = false;
process.on("SIGTERM", () => { ending = true; });

// The code of the status in a CheckResponse: field 1 of its field 1; nothing stands for 0.
function codeOf(answer) {
  if (answer.length < 2 || answer[0] !== 0x0a) return 0;
  return answer[1] >= 2 && answer[2] === 0x08 ? answer[3] : 0;
}

function note(number, error, answer) {
  found.calls += 1;
  const { CANCELLED, DEADLINE_EXCEEDED, PERMISSION_DENIED } = grpc.status;
  if (error && error.code === CANCELLED && number % 17 === 0) found.cancelled += 1;
  else if (error && error.code === DEADLINE_EXCEEDED && number % 23 === 0) found.expired += 1;
  else if (error) found.failed.push(error.message);
  else if (codeOf(answer) !== [0, PERMISSION_DENIED][number % 2]) found.wrong += 1;
  else if (number % 11 === 0) found.compressed += 1;
  if (found.calls % 200 === 0) console.log("calls", found.calls);
}

function ask(number) {
  return new Promise((done) => {
    const deadline = Date.now() + (number % 23 === 0 ? 1 : 10000);
    const client = number % 11 === 0 ? packed : plain;
    const call = client.check(requests[number % 2], new grpc.Metadata(), { deadline }, (error, answer) => {
      note(number, error, answer);
      done();
    });
    if (number % 17 === 0) setTimeout(() => call.cancel(), number % 3);
  });
}

async function work(worker) {
  for (let number = worker; !ending; number += WORKERS) {
    await ask(number);
    await new Promise((done) => { setTimeout(done, PAUSE); });
  }
}

Promise.all([...Array(WORKERS).keys()].map(work)).then(() => {
  plain.close();
  packed.close();
  console.log(JSON.stringify(found));
});
