// SPDX-License-Identifier: MIT
//
// bench-cluster.js: the work of bench-direct, done by a worker of Node's cluster module.
//
//   node bench-cluster.js -w echo|daytime ADDRESS:PORT
//
// The primary process accepts and passes each connection to its one worker, as usherd does to a
// provider. That is SCHED_RR, the default; with SCHED_NONE the worker would accept by itself.
"use strict";

const cluster = require("cluster");
const net = require("net");

const BACKLOG = 4096;
const DAYTIME = "Sunday, November 22, 2026 12:00:00-UTC\r\n"; // as in answer.h

const answers = {
    echo: (socket) => socket.once("data", (line) => finish(socket, line)),
    daytime: (socket) => finish(socket, DAYTIME),
};

// Closes at once, as bench-direct does; end() waits for the client to close, which is slower.
function finish(socket, text) {
    socket.write(text);
    socket.destroySoon();
}

function serve(work, address) {
    const colon = address.lastIndexOf(":");
    const server = net.createServer((socket) => {
        socket.on("error", () => {}); // a client that has gone away is none of our business
        answers[work](socket);
    });
    const port = Number(address.slice(colon + 1));
    server.listen({ host: address.slice(0, colon), port, backlog: BACKLOG });
}

if (cluster.isPrimary) {
    cluster.schedulingPolicy = cluster.SCHED_RR;
    cluster.fork();
} else {
    serve(process.argv[3], process.argv[4]);
}
