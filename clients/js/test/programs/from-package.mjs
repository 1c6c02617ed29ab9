// Uses the package as an application does. A test copies this file beside an installed package and starts it:
//
//     node from-package.mjs URL SOCKET_MODULE
//
// It writes the client id, sends its input line by line, and writes what comes back; at the input's end it leaves.
import { createInterface } from "node:readline";

import { connect, miniProgram, RequestError } from "gatewayworker-client";

const { socket } = await import(process.argv[3]);
const client = connect(process.argv[2], { resume: true, ...(socket && { socket }) });
client.on("message", (text) => console.log(text));
createInterface(process.stdin).on("line", (line) => client.send(line)).on("close", () => client.close());
if (typeof miniProgram !== "function" || !(RequestError.prototype instanceof Error)) throw new Error("names are missing");
